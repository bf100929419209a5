"""`SampleData`: takes registrations as Slicer's module does, and fetches those that are files of this machine."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import slicer


@dataclass
class SampleDataSource:
    """One sample: where its files come from, how they are checked and loaded."""

    sampleName: str
    uris: list[str]
    fileNames: list[str]
    nodeNames: list[str]
    checksums: list[str]
    loadFileTypes: list[str]
    thumbnailFileName: str | None = None
    sampleDescription: str | None = None
    loadFiles: list[bool] = field(default_factory=list)
    customDownloader: Any = None


_sources: dict[str, list[SampleDataSource]] = {}
_titles: dict[str, str] = {}


def _asList(value: Any, count: int, default: Any = None) -> list[Any]:
    values = list(value) if isinstance(value, (list, tuple)) else [value] * count
    return [default if entry is None else entry for entry in values]


class SampleDataLogic:
    """The class methods that modules call, and the download of a sample by name."""

    @staticmethod
    def registerCustomSampleDataCategory(category: str, title: str) -> None:
        _titles[category] = title

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str = "",
        sampleDescription: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFiles: Any = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
    ) -> None:
        """Offer a sample; ValueError if the files, their names and their checksums are not as many as one another."""
        count = len(uris) if isinstance(uris, (list, tuple)) else 1
        source = SampleDataSource(
            sampleName,
            _asList(uris, count),
            _asList(fileNames, count),
            _asList(nodeNames, count, ""),
            _asList(checksums, count, ""),
            _asList(loadFileTypes, count, "VolumeFile"),
            thumbnailFileName,
            sampleDescription,
            _asList(loadFiles, count, True),
            customDownloader,
        )
        lengths = {len(values) for values in (source.uris, source.fileNames, source.nodeNames, source.checksums)}
        if len(lengths) != 1:
            raise ValueError(f"the sample {sampleName!r} has lists of different lengths")
        if thumbnailFileName is not None and not Path(thumbnailFileName).is_file():
            raise ValueError(f"the sample {sampleName!r} names a thumbnail that is not there: {thumbnailFileName}")
        _sources.setdefault(category, []).append(source)

    def sourceForSampleName(self, sampleName: str) -> SampleDataSource | None:
        return next((s for sources in _sources.values() for s in sources if s.sampleName == sampleName), None)

    def downloadSamples(self, sampleName: str) -> list[Any]:
        """Copy the sample's files into the cache, check them and load them; give the nodes."""
        source = self.sourceForSampleName(sampleName)
        if source is None:
            raise RuntimeError(f"there is no sample {sampleName!r}")
        nodes = []
        for uri, fileName, nodeName, checksum, kind in zip(
            source.uris, source.fileNames, source.nodeNames, source.checksums, source.loadFileTypes, strict=True
        ):
            copy = Path(slicer.app.cachePath) / fileName
            shutil.copyfile(url2pathname(urlparse(uri).path), copy)
            _verify(copy, checksum)
            nodes.append(slicer.util.loadNodeFromFile(str(copy), kind, {"name": nodeName} if nodeName else {}))
        return nodes

    def downloadSample(self, sampleName: str) -> Any:
        return self.downloadSamples(sampleName)[0]


def _verify(path: Path, checksum: str) -> None:
    if checksum:
        algorithm, wanted = slicer.util.extractAlgoAndDigest(checksum)
        found = slicer.util.computeChecksum(algorithm, str(path))
        if found != wanted:
            raise ValueError(f"{path.name}: expected {algorithm} {wanted}, found {found}")
