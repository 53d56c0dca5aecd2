"""The data sets, one row each. Data sources are a table, not code.

Addresses come from torchvision's source where it has them, else from the data set's own page. Checksums come from
`TORCHVISION` (md5) or `TFDS` (sha256, the `url_checksums` of github.com/tensorflow/datasets); a file whose checksum
nobody publishes says so, and its hash is recorded when it is first fetched.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

TORCHVISION = "torchvision's source"
TFDS = "tensorflow/datasets, url_checksums"
UNPUBLISHED = "nobody publishes one; recorded at the first fetch"


@dataclass(frozen=True)
class SourceFile:
    """One file of a source.

    Attributes:
        name: Path of the file below the downloads.
        urls: Mirrors, tried in order; none where a person must fetch it.
        bytes: Size; 0 where it is not known beforehand.
        checksum: `sha256:...` or `md5:...`, empty where nobody publishes one.
        checksum_from: Who published it.
        local: Another place where a package of the system puts the same content, gzipped.
        content_sha256: Hash of the content after gunzip, for files taken from `local`.
    """

    name: str
    urls: tuple[str, ...] = ()
    bytes: int = 0
    checksum: str = ""
    checksum_from: str = UNPUBLISHED
    local: str = ""
    content_sha256: str = ""


@dataclass(frozen=True)
class DataSet:
    """One data set version.

    Attributes:
        version: Number of the prepared form; raise it when the reader's result changes.
        reader: Module whose `read(source)` gives a `RawData`; empty for what is no image set of its own.
        form: `array` (one uint8 array), `files` (photographs, which stay encoded), `labels` (no images), or
            `made` (from another set's images, when they are evaluated).
        classes: Number of classes; 0 where the user's files tell.
        images: Split -> number of images, known before anything is fetched; empty where the user's files tell.
        licence: Licence of the images.
        key_points: Whether the index has named key points.
        accept: Whether the terms restrict use, so that a person must accept them once.
        origin: Where they come from.
        image_shape: (channels, height, width) of an array; None for files.
        files: Files to fetch.
        manual: How to get the files that a person must fetch.
    """

    version: str
    reader: str
    form: Literal["array", "files", "labels", "made"]
    classes: int
    images: dict[str, int]
    licence: str
    origin: str
    accept: bool = False
    key_points: bool = False
    image_shape: tuple[int, int, int] | None = None
    files: tuple[SourceFile, ...] = field(default=())
    manual: str = ""

    @property
    def download_bytes(self) -> int:
        """Size of all files to fetch; 0 where unknown."""
        return sum(file.bytes for file in self.files)


READERS = "lookalike.data.readers"
VGG = "https://www.robots.ox.ac.uk/~vgg/data"
HENDRYCKS = "https://people.eecs.berkeley.edu/~hendrycks"
CODALAB = "https://worksheets.codalab.org/rest/bundles"
IMAGENET_TERMS = "ImageNet terms: non-commercial research and education only; images belong to their owners"


def _idx(base: tuple[str, ...], local: str, files: dict[str, tuple[int, str, str]]) -> tuple[SourceFile, ...]:
    """The four files of an MNIST-like set: name -> bytes, sha256, sha256 of the content."""
    return tuple(
        SourceFile(
            name,
            tuple(url + name for url in base),
            size,
            f"sha256:{checksum}",
            TFDS,
            local and local + name,
            content,
        )
        for name, (size, checksum, content) in files.items()
    )


DATA_SETS = {
    "digits": DataSet(
        version="1",
        reader=f"{READERS}.digits",
        form="array",
        classes=10,
        images={"train": 1297, "test": 500},
        image_shape=(1, 8, 8),
        licence="CC BY 4.0",
        origin="scikit-learn's wheel: UCI Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, 1998)",
    ),
    "critters": DataSet(
        version="1",
        reader=f"{READERS}.critters",
        form="array",
        classes=10,
        images={"train": 600, "test": 300},
        image_shape=(3, 64, 64),
        licence="Apache-2.0",
        origin="drawn by lookalike: creatures with known parts on textured scenes",
        key_points=True,
    ),
    "image_folder": DataSet(
        version="1",
        reader=f"{READERS}.image_folder",
        form="files",
        classes=0,
        images={},
        licence="yours",
        origin="your own images: class folders or a CSV file",
    ),
    "mnist": DataSet(
        version="1",
        reader=f"{READERS}.idx",
        form="array",
        classes=10,
        images={"train": 60000, "test": 10000},
        image_shape=(1, 28, 28),
        licence="CC BY-SA 3.0",
        origin="LeCun, Cortes and Burges, 1998",
        files=_idx(
            ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
            "",
            {
                "train-images-idx3-ubyte.gz": (
                    9912422,
                    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                    "",
                ),
                "train-labels-idx1-ubyte.gz": (
                    28881,
                    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                    "",
                ),
                "t10k-images-idx3-ubyte.gz": (
                    1648877,
                    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                    "",
                ),
                "t10k-labels-idx1-ubyte.gz": (
                    4542,
                    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                    "",
                ),
            },
        ),
    ),
    "fashion_mnist": DataSet(
        version="1",
        reader=f"{READERS}.idx",
        form="array",
        classes=10,
        images={"train": 60000, "test": 10000},
        image_shape=(1, 28, 28),
        licence="MIT",
        origin="Xiao, Rasul and Vollgraf, arXiv 1708.07747; also Debian's package dataset-fashion-mnist",
        files=_idx(
            ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
            "/usr/share/datasets/fashion-mnist/",
            {
                "train-images-idx3-ubyte.gz": (
                    26421880,
                    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                ),
                "train-labels-idx1-ubyte.gz": (
                    29515,
                    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                ),
                "t10k-images-idx3-ubyte.gz": (
                    4422102,
                    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                ),
                "t10k-labels-idx1-ubyte.gz": (
                    5148,
                    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
                ),
            },
        ),
    ),
    "svhn": DataSet(
        version="1",
        reader=f"{READERS}.svhn",
        form="array",
        classes=10,
        images={"train": 73257, "test": 26032},
        image_shape=(3, 32, 32),
        licence="non-commercial use only",
        accept=True,
        origin="Netzer et al., 2011, cropped digits, without the extra part",
        files=tuple(
            SourceFile(name, (f"http://ufldl.stanford.edu/housenumbers/{name}",), size, f"sha256:{checksum}", TFDS)
            for name, size, checksum in (
                (
                    "train_32x32.mat",
                    182040794,
                    "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
                ),
                ("test_32x32.mat", 64275384, "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"),
            )
        ),
    ),
    "cifar10": DataSet(
        version="1",
        reader=f"{READERS}.cifar",
        form="array",
        classes=10,
        images={"train": 50000, "test": 10000},
        image_shape=(3, 32, 32),
        licence="none stated; cite the technical report",
        origin="Krizhevsky, 2009",
        files=(
            SourceFile(
                "cifar-10-python.tar.gz",
                ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
                170498071,
                "md5:c58f30108f718f92721af3b95e74349a",
                TORCHVISION,
            ),
        ),
    ),
    "cifar100": DataSet(
        version="1",
        reader=f"{READERS}.cifar",
        form="array",
        classes=100,
        images={"train": 50000, "test": 10000},
        image_shape=(3, 32, 32),
        licence="none stated; cite the technical report",
        origin="Krizhevsky, 2009",
        files=(
            SourceFile(
                "cifar-100-python.tar.gz",
                ("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
                169001437,
                "md5:eb9058c3a382ffc7106e4002c42a8d85",
                TORCHVISION,
            ),
        ),
    ),
    "cinic10": DataSet(
        version="1",
        reader=f"{READERS}.cinic10",
        form="array",
        classes=10,
        images={"train": 90000, "validation": 90000, "test": 90000},
        image_shape=(3, 32, 32),
        licence="MIT (compilation); ImageNet terms for its ImageNet part",
        accept=True,
        origin="Darlow et al., arXiv 1810.03505",
        files=(
            SourceFile(
                "CINIC-10.tar.gz",
                (
                    "https://datashare.ed.ac.uk/bitstream/handle/10283/3192/CINIC-10.tar.gz",
                    "https://datashare.is.ed.ac.uk/bitstream/handle/10283/3192/CINIC-10.tar.gz",
                ),
                687544992,
                "md5:6ee4d0c996905fe93221de577967a372",
                "public loaders; the data set's page gives none",
            ),
        ),
    ),
    "cub200": DataSet(
        version="1",
        reader=f"{READERS}.cub200",
        key_points=True,
        form="files",
        classes=200,
        images={"train": 5994, "test": 5794},
        licence="non-commercial research and education only; images belong to their owners",
        accept=True,
        origin="Wah et al., Caltech-UCSD Birds-200-2011, CNS-TR-2011-001",
        files=(
            SourceFile(
                "CUB_200_2011.tgz",
                ("https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",),
                1150585339,
                "sha256:0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
                TFDS,
            ),
        ),
    ),
    "stanford_dogs": DataSet(
        version="1",
        reader=f"{READERS}.stanford_dogs",
        form="files",
        classes=120,
        images={"train": 12000, "test": 8580},
        licence=IMAGENET_TERMS,
        accept=True,
        origin="Khosla et al., 2011",
        files=(
            SourceFile(
                "images.tar",
                ("http://vision.stanford.edu/aditya86/ImageNetDogs/images.tar",),
                793579520,
                "sha256:a443fc2f9a851aa1a7b8e4fa4af94b8459fce2c9f5a2f4dd4669cf9673a4ec58",
                TFDS,
            ),
            SourceFile(
                "lists.tar",
                ("http://vision.stanford.edu/aditya86/ImageNetDogs/lists.tar",),
                481280,
                "sha256:34b47cacd9a98b5d150e084f24d29391c084c55272295ec65c85651bc35f4d6c",
                TFDS,
            ),
        ),
    ),
    "flowers102": DataSet(
        version="1",
        reader=f"{READERS}.flowers102",
        form="files",
        classes=102,
        images={"train": 1020, "validation": 1020, "test": 6149},
        licence="none stated; images belong to their owners",
        origin="Nilsback and Zisserman, 2008",
        files=tuple(
            SourceFile(name, (f"{VGG}/flowers/102/{name}",), size, f"sha256:{checksum}", TFDS)
            for name, size, checksum in (
                (
                    "102flowers.tgz",
                    344862509,
                    "2d01ecc807db462958cfe3d92f57a8c252b4abd240eb955770201e45f783b246",
                ),
                ("imagelabels.mat", 502, "4903e94206bac23bf772aadf06451916df56b58fc483a62db32a97b82656651d"),
                ("setid.mat", 14989, "46b8678f91fd95d3c8f4feab80d271a6c834a1dd896fe29fd3e6ad9ce5c8dccd"),
            )
        ),
    ),
    "fgvc_aircraft": DataSet(
        version="1",
        reader=f"{READERS}.fgvc_aircraft",
        form="files",
        classes=100,
        images={"train": 3334, "validation": 3333, "test": 3333},
        licence="non-commercial research only",
        accept=True,
        origin="Maji et al., arXiv 1306.5151, labels by variant",
        files=(
            SourceFile(
                "fgvc-aircraft-2013b.tar.gz",
                (f"{VGG}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",),
                2770575360,
                "sha256:d5f68b1b81d6d7831eb9d5c5517074176b5dfbce6bcb43dc14ed1c66a87b8d75",
                TFDS,
            ),
        ),
    ),
    "oxford_pets": DataSet(
        version="1",
        reader=f"{READERS}.oxford_pets",
        form="files",
        classes=37,
        images={"train": 3680, "test": 3669},
        licence="CC BY-SA 4.0",
        origin="Parkhi et al., 2012; trainval is the training set",
        files=tuple(
            SourceFile(name, (f"{VGG}/pets/data/{name}",), size, f"sha256:{checksum}", TFDS)
            for name, size, checksum in (
                ("images.tar.gz", 791918971, "67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d"),
                (
                    "annotations.tar.gz",
                    19173078,
                    "52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
                ),
            )
        ),
    ),
    "imagenet": DataSet(
        version="1",
        reader=f"{READERS}.imagenet",
        form="files",
        classes=1000,
        images={"train": 1281167, "test": 50000},
        licence=IMAGENET_TERMS,
        accept=True,
        origin="Russakovsky et al., 2015 (ILSVRC 2012); the validation part is the test set",
        files=(
            SourceFile(
                "ILSVRC2012_img_train.tar",
                (),
                147897477120,
                "md5:1d675b47d978889d74fa0da5fadfb00e",
                TORCHVISION,
            ),
            SourceFile("ILSVRC2012_img_val.tar", (), 6744924160, "md5:29b22e2961454d5413ddabcf34fc5622", TORCHVISION),
            SourceFile(
                "ILSVRC2012_devkit_t12.tar.gz", (), 2568145, "md5:fa75699e90414af021442c21a62c3abf", TORCHVISION
            ),
        ),
        manual="register on https://image-net.org, accept the terms and download the three files of ILSVRC 2012; "
        "folders train/<wnid>/ and val/<wnid>/ that you have already serve as well",
    ),
    "imagenet_real": DataSet(
        version="1",
        reader="",
        form="labels",
        classes=1000,
        images={"test": 50000},
        licence="Apache-2.0",
        origin="Beyer et al., arXiv 2006.07159; ships in workflow/resources, used by imagenet",
    ),
    "imagenet_r": DataSet(
        version="1",
        reader=f"{READERS}.wnid_folders",
        form="files",
        classes=200,
        images={"test": 30000},
        licence="none stated for the images; code MIT",
        origin="Hendrycks et al., ICCV 2021",
        files=(
            SourceFile(
                "imagenet-r.tar",
                (f"{HENDRYCKS}/imagenet-r.tar",),
                2191079936,
                "sha256:18c6bf493b39a0d975d48e587437f562caab9c52ae6327dcfa9dd8eb54aa1b52",
                TFDS,
            ),
        ),
    ),
    "imagenet_sketch": DataSet(
        version="1",
        reader=f"{READERS}.wnid_folders",
        form="files",
        classes=1000,
        images={"test": 50889},
        licence="MIT (compilation); images belong to their owners",
        origin="Wang et al., NeurIPS 2019",
        files=(
            SourceFile(
                "ImageNet-Sketch.zip",
                (),
                7593573012,
                "sha256:4d3ce6b82a7c48aabf14aeac105eb533e75707f152cc858f55bfc022031a72ed",
                TFDS,
            ),
        ),
        manual="download ImageNet-Sketch.zip from the page that https://github.com/HaohanWang/ImageNet-Sketch links "
        "(a file store that refuses scripts)",
    ),
    "imagenet_a": DataSet(
        version="1",
        reader=f"{READERS}.wnid_folders",
        form="files",
        classes=200,
        images={"test": 7500},
        licence="none stated for the images; code MIT",
        origin="Hendrycks et al., CVPR 2021",
        files=(
            SourceFile(
                "imagenet-a.tar",
                (f"{HENDRYCKS}/imagenet-a.tar",),
                687552512,
                "sha256:3bb3632277e6ba6392ea64c02ddbf4dd2266c9caffd6bc09c9656d28f012589e",
                TFDS,
            ),
        ),
    ),
    "objectnet": DataSet(
        version="1",
        reader=f"{READERS}.objectnet",
        form="files",
        classes=313,
        images={"test": 50273},
        licence="CC BY 4.0 with two conditions: evaluation only, and a red border when shown",
        accept=True,
        origin="Barbu et al., NeurIPS 2019",
        files=(SourceFile("objectnet-1.0.zip"),),
        manual="download objectnet-1.0.zip from https://objectnet.dev, unpack it with the password given there, and "
        "pack the folder objectnet-1.0 again without one: zip -r objectnet-1.0.zip objectnet-1.0",
    ),
    "damagenet": DataSet(
        version="1",
        reader=f"{READERS}.wnid_folders",
        form="files",
        classes=1000,
        images={"test": 50000},
        licence=IMAGENET_TERMS,
        accept=True,
        origin="Chen et al., arXiv 2001.06325: universal adversarial samples of the ImageNet validation images",
        files=(SourceFile("DAmageNet.zip"),),
        manual="ask for DAmageNet on its authors' page (arXiv 2001.06325 gives it), arrange the images in folders "
        "named by WordNet id and pack them: zip -r DAmageNet.zip n01440764 n01443537 ...",
    ),
    "imagenet_c": DataSet(
        version="1",
        reader="",
        form="made",
        classes=1000,
        images={},
        licence="as the images it is made from",
        origin="made when evaluated, from any set: evaluation_sets: [test-gaussian_noise-3] "
        "(Hendrycks and Dietterich, ICLR 2019)",
    ),
    "adversarial_patch": DataSet(
        version="1",
        reader="",
        form="made",
        classes=0,
        images={},
        licence="as the images it is made from",
        origin="drawn when evaluated, on any set: evaluation_sets: [test-adversarial_patch] (Brown et al., 1712.09665)",
    ),
    "camelyon17": DataSet(
        version="1",
        reader=f"{READERS}.wilds",
        form="files",
        classes=2,
        images={"train": 302436, "id_validation": 33560, "validation": 34904, "test": 85054},
        licence="CC0",
        origin="Bandi et al., 2018; WILDS v1.0 (Koh et al., 2021): environments are hospitals",
        files=(
            SourceFile(
                "camelyon17_v1.0.tar.gz",
                (f"{CODALAB}/0xe45e15f39fb54e9d9e919556af67aabe/contents/blob/",),
                10658709504,
            ),
        ),
    ),
    "fmow": DataSet(
        version="1",
        reader=f"{READERS}.wilds",
        form="files",
        classes=62,
        images={"train": 76863, "id_validation": 11483, "id_test": 11327, "validation": 19915, "test": 22108},
        licence="Functional Map of the World challenge public licence",
        accept=True,
        origin="Christie et al., 2018; WILDS v1.1 (Koh et al., 2021): environments are years",
        files=(
            SourceFile(
                "fmow_v1.1.tar.gz",
                (f"{CODALAB}/0xaec91eb7c9d548ebb15e1b5e60f966ab/contents/blob/",),
                53893324800,
            ),
        ),
    ),
}
