"""Where the metrics of a training go beside its folder: TensorBoard, MLflow, trackio."""
