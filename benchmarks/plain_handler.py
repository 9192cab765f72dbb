"""What one would write first: a FastAPI handler that calls the predictor image by image."""

import sys

import uvicorn
from fastapi import FastAPI, UploadFile

from threeages.inference.predictor import load_predictor

app = FastAPI()
predictor = load_predictor()


@app.post("/threads")
def in_threads(image: UploadFile) -> list[dict[str, object]]:
    return [record.to_dict() for record in predictor.predict([image.file.read()])]


@app.post("/async")
async def in_the_loop(image: UploadFile) -> list[dict[str, object]]:
    return [record.to_dict() for record in predictor.predict([await image.read()])]


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
