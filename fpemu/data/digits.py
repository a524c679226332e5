"""The handwritten digits that ship inside scikit-learn: 1797 images of 8 x 8 pixels."""

from __future__ import annotations

from fpemu.data.dataset import Dataset
from fpemu.errors import missing_extra


def digits(*, seed: int = 0) -> Dataset:
    """1437 training and 360 test images, pixels divided by 16 (multiples of 1/16 up to 1).

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (its
    test part), as `sklearn.datasets.load_digits` holds it; nothing is downloaded.
    Raises `MissingExtraError` without scikit-learn.

    >>> digits().test_x.shape
    (360, 64)
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise missing_extra("scikit-learn", "the data set 'digits'", "data") from None
    bunch = load_digits()
    return Dataset.split("digits", bunch.data / 16.0, bunch.target, seed=seed)
