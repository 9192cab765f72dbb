"""Adapter of insightface 0.7 (MIT; its files are for research only): pip install insightface onnxruntime.

--files is what insightface calls its root: FILES/models/buffalo_l with det_10g.onnx and genderage.onnx.
"""

from pathlib import Path

from adapter import Answer, Predict, load_package, run

NEEDED = ("models/buffalo_l/det_10g.onnx", "models/buffalo_l/genderage.onnx")
INSTALL = "pip install insightface onnxruntime"
TASKS = ["detection", "genderage"]


def load(files: Path) -> Predict:
    cv2, numpy = load_package("cv2", INSTALL), load_package("numpy", INSTALL)
    face_class = load_package("insightface.app.common", INSTALL).Face
    analysis = load_package("insightface.app", INSTALL).FaceAnalysis(
        name="buffalo_l", root=str(files), allowed_modules=TASKS, providers=["CPUExecutionProvider"]
    )
    analysis.prepare(ctx_id=-1, det_size=(640, 640))

    def predict(path: str) -> Answer:
        image = cv2.imread(path)
        faces = analysis.get(image)
        if faces:
            largest = max(
                faces, key=lambda face: (face.bbox[2] - face.bbox[0]) * (face.bbox[3] - face.bbox[1])
            )
            return Answer(float(largest.age), found=True)
        whole = face_class(bbox=numpy.array([0, 0, image.shape[1], image.shape[0]], dtype=numpy.float32))
        analysis.models["genderage"].get(image, whole)
        return Answer(float(whole.age), found=False)

    return predict


if __name__ == "__main__":
    run(load, NEEDED)
