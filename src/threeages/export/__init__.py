"""A checkpoint to one ONNX file, float32 or int8, behind a parity gate."""
