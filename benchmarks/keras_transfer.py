"""The reference study's transfer learning in Keras; run by study.py in TensorFlow's own environment.

python keras_transfer.py PIXELS.npy LABELS.npy MODEL BATCH EPOCHS; EPOCHS are those of each of the two phases.
"""

import json
import sys
import time

import keras
import numpy as np
import tensorflow as tf

BACKBONES = {"resnet50": keras.applications.ResNet50, "mobilenet_v2": keras.applications.MobileNetV2}
TRAINABLE = 10  # layers of the backbone that train in the second phase


def main() -> None:
    pixels, labels = np.load(sys.argv[1]), np.load(sys.argv[2])
    name, batch, epochs = sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
    size = pixels.shape[1]
    backbone = BACKBONES[name](weights=None, include_top=False, input_shape=(size, size, 3))
    backbone.trainable = False
    model = keras.Sequential(
        [
            keras.Input((size, size, 3)),
            keras.layers.Rescaling(1 / 127.5, offset=-1),
            backbone,
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    data = tf.data.Dataset.from_tensor_slices((pixels, labels)).shuffle(len(pixels)).batch(batch)
    data = data.map(lambda x, y: (tf.cast(x, tf.float32), y)).prefetch(2)
    model.build((None, size, size, 3))
    start = time.perf_counter()
    for lr in (1e-4, 1e-5):
        model.compile(keras.optimizers.Adam(lr), "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(data, epochs=epochs, verbose=0)
        backbone.trainable = True
        for layer in backbone.layers[:-TRAINABLE]:
            layer.trainable = False
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "tensorflow": tf.__version__}))


if __name__ == "__main__":
    main()
