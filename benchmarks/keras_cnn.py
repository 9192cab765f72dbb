"""The same CNN in Keras, for training.py; runs where TensorFlow is:   PIXELS.npy LABELS.npy BATCH EPOCHS."""

import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from tensorflow import keras

pixels, labels = np.load(sys.argv[1]), np.load(sys.argv[2])
batch, epochs = map(int, sys.argv[3:])
layers = [keras.Input((*pixels.shape[1:],)), keras.layers.Rescaling(1 / 255)]
for width in (32, 64, 128, 128):
    layers += [keras.layers.Conv2D(width, 3, activation="relu"), keras.layers.MaxPooling2D()]
layers += [
    keras.layers.Flatten(),
    keras.layers.Dense(512, activation="relu"),
    keras.layers.Dense(3, "softmax"),
]
model = keras.Sequential(layers)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
data = tf.data.Dataset.from_tensor_slices((pixels, labels)).shuffle(len(labels)).batch(batch).prefetch(2)
for _ in range(epochs):  # the last epoch counts: graph and memory are warm by then
    start = time.perf_counter()
    model.fit(data, verbose=0)
    seconds = time.perf_counter() - start
print(
    json.dumps(
        {
            "images_per_second": len(labels) / seconds,
            "parameters": model.count_params(),
            "tensorflow": tf.__version__,
        }
    )
)
