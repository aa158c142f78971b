"""DICOM files for the tests, written here with pydicom."""

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless


def write(path, stored: np.ndarray, bits: int, syntax=ExplicitVRLittleEndian, **tags):
    """Write stored values as a DICOM file of so many bits and return its path."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=["test"])
    file = Dataset()
    file.file_meta = meta
    file.SOPClassUID = meta.MediaStorageSOPClassUID
    file.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    file.Rows, file.Columns = stored.shape[-2:]
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated = 8 * stored.dtype.itemsize
    file.BitsStored, file.HighBit = bits, bits - 1
    file.PixelRepresentation = int(stored.dtype.kind == "i")
    if syntax == RLELossless:
        file.compress(RLELossless, stored)
    else:
        file.PixelData = stored.tobytes()
    for name, value in tags.items():
        setattr(file, name, value)
    if syntax.is_encapsulated:
        file["PixelData"].VR = "OB"
    file.save_as(path, enforce_file_format=True)
    return path
