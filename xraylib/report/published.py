"""The published numbers, each with its place in the report.

Seth, Pierrau and Dadfar, "Detecting COVID-19 from X-ray imaging using SNN - Stacked Neural
Networks" (KTH, 2020); code, file lists and saved test predictions at
github.com/anirudhseth/Stacked-NN-for-COVID-detection-with-GRADCAM, commit ed3bccd.

Printed numbers are copied from the report. Counted ones come from the authors' saved predictions
and file lists; tests count them again where these are at hand.
"""

from pathlib import Path

import pandas as pd

# Section 2: how many images the text says were collected. Table 1 says one more.
IMAGES_IN_TEXT = 15_160
# Section 2, Table 1: images by class and split, as printed. Its authors' notebook prints 6,372
# normal training images; the other cells are those of `data.report_counts`.
TABLE_1 = {
    "normal": {"train": 6373, "val": 1593, "test": 885, "total": 8851},
    "pneumonia": {"train": 4352, "val": 1088, "test": 604, "total": 6044},
    "COVID-19": {"train": 192, "val": 48, "test": 26, "total": 266},
}
# Table 1's last row and column: per cent of all images.
TABLE_1_PERCENT = {
    "train": 72,
    "val": 18,
    "test": 10,
    "normal": 58.4,
    "pneumonia": 39.9,
    "COVID-19": 1.7,
}
# Images of each class in the published lists, from which the split was made.
LISTED = {"normal": 8851, "pneumonia": 6045, "COVID-19": 267}
# Section 3.1, Figure 2: the shapes that it prints, from VGG16's output to the three classes.
FIGURE_2 = ((7, 7, 512), (5, 5, 512), (3, 3, 512), (1, 1, 512), (512,), (64,), (3,))
# Section 3.2.1, Table 2: the standard augmentation. Lowest and highest values.
TABLE_2 = {
    "rotation (degrees)": (0, 10),
    "horizontal shift (%)": (0, 10),
    "vertical shift (%)": (0, 10),
    "zoom (%)": (85, 115),
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
# Section 4, Figure 5: test images by true class (rows) and predicted class (columns), in the order
# normal, pneumonia, COVID-19. In the repository the experiments are the models 6, 4 and 5.
CONFUSION = {
    "experiment 1": ((833, 51, 1), (77, 526, 1), (2, 7, 17)),
    "experiment 2": ((334, 139, 412), (80, 296, 228), (1, 5, 20)),
    "experiment 3": ((595, 25, 265), (110, 128, 366), (2, 1, 23)),
}
# Section 4, Table 4, as printed: precision, recall, F1 and F2 of each class.
TABLE_4 = {
    "experiment 1": {
        "normal": (0.91, 0.94, 0.93, 0.93),
        "pneumonia": (0.9, 0.87, 0.89, 0.88),
        "COVID-19": (0.89, 0.65, 0.76, 0.69),
    },
    "experiment 2": {
        "normal": (0.8, 0.38, 0.51, 0.42),
        "pneumonia": (0.67, 0.49, 0.57, 0.51),
        "COVID-19": (0.03, 0.77, 0.06, 0.13),
    },
    "experiment 3": {
        "normal": (0.84, 0.67, 0.75, 0.7),
        "pneumonia": (0.83, 0.21, 0.34, 0.25),
        "COVID-19": (0.04, 0.88, 0.07, 0.15),
    },
}
TABLE_4_COLUMNS = ("precision", "recall", "f1", "f2")
# The last row of Table 4: accuracy on the test images.
ACCURACY = {"experiment 1": 0.91, "experiment 2": 0.43, "experiment 3": 0.49}
# Section 4, Figure 6: accuracy and loss on the training images, read off the picture in the
# authors' PDF by the colour of the curves (to about 0.002), at epochs 40 and 49, the last drawn.
FIGURE_6 = {
    "accuracy": {
        40: {"experiment 1": 0.988, "experiment 2": 0.983, "experiment 3": 0.935},
        49: {"experiment 1": 0.995, "experiment 2": 0.988, "experiment 3": 0.937},
    },
    "loss": {
        40: {"experiment 1": 0.035, "experiment 2": 0.057, "experiment 3": 0.190},
        49: {"experiment 1": 0.016, "experiment 2": 0.042, "experiment 3": 0.181},
    },
}
# Section 4, Figure 7: the file shown for each experiment (the folder GradCam of the repository),
# the split that it is in by the replayed lists, and how many images of its patient are in training.
FIGURE_7 = {
    "experiment 1": ("9fdd3c3032296fd04d2cad5d9070d4_jumbo.jpeg", "test", 1),
    "experiment 2": ("16654_2_1.jpg", "test", 2),
    "experiment 3": ("AR-2.jpg", "test", 1),
}
# Section 7.1, by the letter: which images each name counts, by (truth, call). "Incorrectly
# classified COVID-positive cases" are positive ones that are called negative.
WORDED_COUNTS = {
    "TP": ("positive", "positive"),
    "TN": ("negative", "negative"),
    "FP": ("positive", "negative"),
    "FN": ("negative", "positive"),
}
# Not in the report, but found by replaying its published file lists with their seed: test images
# whose patient also has images in training, and all test images of the class.
LEAKED_TEST_IMAGES = {"normal": (0, 885), "pneumonia": (2, 604), "COVID-19": (13, 26)}
# COVID-19 images that leak where the letters in the numbers of Figure 1 (39a, 39b, 39c) are taken
# for images of one patient, see `sources.covidx.patient_name`.
LEAKED_OF_JOINED_PATIENTS = 14
# Counted from the authors' saved predictions, which are in one order: COVID-19 test images that
# only the first, or only the second, of two experiments calls COVID-19.
COVID_FOUND_BY_ONE = {
    ("experiment 1", "experiment 2"): (4, 7),
    ("experiment 1", "experiment 3"): (2, 8),
    ("experiment 2", "experiment 3"): (2, 5),
}
# The same predictions beside the replayed list of test images, taken to be in its order: how many
# COVID-19 images are found, by whether the patient has images in training too.
COVID_FOUND_AMONG = {
    "experiment 1": {"patient in training": (9, 13), "stranger": (8, 13)},
    "experiment 2": {"patient in training": (9, 13), "stranger": (11, 13)},
    "experiment 3": {"patient in training": (13, 13), "stranger": (10, 13)},
}
# Section 3.1 says that VGG16 was trained on about 15 million images. Simonyan and Zisserman (2014)
# used the 1,000 classes of ILSVRC 2012, whose training set has this many.
IMAGES_IN_TEXT_OF_VGG16 = 15_000_000
IMAGENET_IMAGES = 1_281_167
# Section 3.2.3: between these lie IoU and Dice of the U-Net that it took over, and what its
# makers print for JSRT and Montgomery (github.com/imlab-uiip/lung-segmentation-2d).
UNET_PRINTED = (0.95, 0.99)
UNET_OF_ITS_MAKERS = {
    "JSRT": {"iou": 0.971, "dice": 0.985},
    "Montgomery": {"iou": 0.956, "dice": 0.972},
}
# Section 3.2.3 describes the U-Net as in its first paper; its makers' build_model.py has this.
UNET_DESCRIBED = {"kernel": 3, "pool": 2, "padding": "none", "last kernel": 1, "outputs": 2}
UNET_IN_CODE = {"kernel": 3, "pool": 2, "padding": "same", "last kernel": 3, "outputs": 1}
# Where the code in the authors' repository does something else than the report says. Figure 7
# seems to be drawn by gradCam_images.py: its titles and the names of its files are that script's.
FIGURE_7_DRAWN_BY = ("gradCam_images.py", "apply_gradcam.py")
RELEASED_CODE = {
    "up-sampling": ("data_module.py", "leaves the lines that add COVID-19 images as comments"),
    "Table 2": ("data_module.py", "also mirrors the images and changes their brightness"),
    "cropping": ("data_module.py", "cuts off the top sixth of every image"),
    "batches": ("data_module.py", "fills up the last batch with black images, called normal"),
    "white padding": (
        "lung_seg/lung_seg_try_1.py",
        "saves the lungs, black around them, as a figure with Matplotlib's white margins",
    ),
    "equation (2), score": ("apply_gradcam.py", "differentiates the softmax's output"),
    "equation (2), mean": ("apply_gradcam.py", "averages positive gradients only"),
    "equation (1)": ("apply_gradcam.py", "has no ReLU, and stretches the map from low to high"),
    "Figure 7, place": (
        "gradCam_images.py",
        "maps the lower five sixths of an image and draws the map over all of it",
    ),
    "Figure 7, colours": (
        "gradCam_images.py",
        "gives OpenCV's colours (blue first) to Matplotlib (red first), so red and blue swap",
    ),
}
# The random transforms of data_module.py: lowest and highest values.
RELEASED_TRANSFORMS = {
    "rotation (degrees)": (0, 10),  # either way
    "horizontal shift (%)": (0, 10),
    "vertical shift (%)": (0, 10),
    "zoom (%)": (85, 115),
    "brightness (%)": (90, 110),
    "flips from left to right": (0, 1),
}
# The training of Draft_Model.py.
RELEASED_TRAINING = {"learning rate": 0.001, "decay": 0.0001, "epochs": 50, "batch size": 100}
# What four works that the report cites say of their own networks, from their abstracts; of [8]
# the model CXR3-B of May 2020, from the page docs/models.md of its repository.
OTHER_WORK = {
    "[2] Narin et al.": {
        "network": "ResNet50",
        "classes": "COVID-19, normal",
        "COVID-19 images": "50",
        "reports": "accuracy 98 %, in five folds",
    },
    "[4] Zhang et al.": {
        "network": "anomaly detection",
        "classes": "COVID-19, other pneumonia",
        "COVID-19 images": "100",
        "reports": "sensitivity 96.0 %, specificity 70.7 %",
    },
    "[3] Tartaglione et al.": {
        "network": "ResNet, DenseNet and others",
        "classes": "COVID-19, not COVID-19",
        "COVID-19 images": "of one hospital and others",
        "reports": "no single number: it warns of biases in small data",
    },
    "[8] COVID-Net": {
        "network": "one of its own",
        "classes": "COVID-19, pneumonia, normal",
        "COVID-19 images": "COVIDx",
        "reports": "accuracy 93.3 %, sensitivity 91.0 %",
    },
}
# Ozturk et al., "Automated detection of COVID-19 cases using deep neural networks with X-ray
# images", Computers in Biology and Medicine 121 (2020): mean accuracy over three classes, five
# image-level folds whose test fold also served for validation.
DARKCOVIDNET_ACCURACY = 0.8702

CLAIMS = Path(__file__).with_name("claims.csv")


def load_claims() -> pd.DataFrame:
    """Return the report's claims, in the order of its sections.

    Returns:
        one row per claim: id; section; kind; says, the claim in our words; printed, its digits as
        the report prints them; decided_by and of, see `studies.judge_claim`; page and cell, the
        notebook and the cell that show it. All text, "" where there is nothing.
    """
    return pd.read_csv(CLAIMS, dtype=str, keep_default_na=False)
