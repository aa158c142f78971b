"""The published numbers, each with its place in the report.

Seth, Pierrau and Dadfar, "Detecting COVID-19 from X-ray imaging using SNN - Stacked Neural
Networks" (KTH, 2020); code, file lists and saved test predictions at
github.com/anirudhseth/Stacked-NN-for-COVID-detection-with-GRADCAM, commit ed3bccd.

Table 4 is not copied here. It follows from the confusion matrices, which are counted from the
authors' saved predictions, see `metrics.per_class_table`.
"""

# Section 2, Table 1: images by class and split. Every row obeys one rule: a tenth for the test,
# rounded down; 18 % for validation, rounded to the nearest; the rest for training.
TABLE_1 = {
    "normal": {"train": 6373, "val": 1593, "test": 885, "total": 8851},
    "pneumonia": {"train": 4352, "val": 1088, "test": 604, "total": 6044},
    "COVID-19": {"train": 192, "val": 48, "test": 26, "total": 266},
}
# Section 3.2.1, Table 2: the standard augmentation. Lowest and highest values.
TABLE_2 = {
    "rotation (degrees)": (0, 10),
    "horizontal shift (%)": (0, 10),
    "vertical shift (%)": (0, 10),
    "zoom (%)": (85, 115),
    "flips": None,
}
# Section 3.4, Table 3: the training of all three experiments.
TABLE_3 = {
    "optimiser": "Adam",
    "learning rate": 0.001,
    "decay": 0.001 / 10,  # the learning rate divided by ten
    "loss": "categorical cross-entropy",
    "epochs": 50,
    "batch size": 100,
    "up-sampling of COVID-19 (%)": 30,
}
# Section 4: test images by true class (rows) and predicted class (columns), in the order normal,
# pneumonia, COVID-19. In the repository the experiments are the models 6, 4 and 5.
CONFUSION = {
    "experiment 1": ((833, 51, 1), (77, 526, 1), (2, 7, 17)),
    "experiment 2": ((334, 139, 412), (80, 296, 228), (1, 5, 20)),
    "experiment 3": ((595, 25, 265), (110, 128, 366), (2, 1, 23)),
}
# Section 4: accuracy on the test images, as published (rounded to whole per cent).
ACCURACY = {"experiment 1": 0.91, "experiment 2": 0.43, "experiment 3": 0.49}
# Not in the report, but found by replaying its published file lists with their seed: COVID-19 test
# images whose patient also has images in training, and all COVID-19 test images.
LEAKED_COVID_TEST_IMAGES = (13, 26)
# Ozturk et al., "Automated detection of COVID-19 cases using deep neural networks with X-ray
# images", Computers in Biology and Medicine 121 (2020): mean accuracy over three classes, five
# image-level folds whose test fold also served for validation.
DARKCOVIDNET_ACCURACY = 0.8702
