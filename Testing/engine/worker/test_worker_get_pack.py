"""A pack of the catalogue by way of the worker: consent by name, progress, cancel, resume, and a file at hand."""

import time

import pytest
from file_server import serve_files
from own_catalogue import write_catalogue
from sample_packs import make_checkpoints
from test_worker_engine import Listener
from vcm.core.errors import Code, VcmError
from vcm.packs import acquiring, catalogue
from vcm.packs.store import find_pack
from vcm.protocol import GetPack, Progress, Transfer
from vcm.worker.engine import LocalEngine

WANTED = GetPack("a", "remote", "Some-1.0")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return make_checkpoints(tmp_path_factory.mktemp("published"))


@pytest.fixture
def site(published, tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    with serve_files({f"/{path.name}": path.read_bytes() for path in published.values()}) as running:
        path = write_catalogue(tmp_path / "catalogue.json", running, published)
        monkeypatch.setattr(catalogue, "CATALOGUE", path)
        yield running


def get(request=WANTED, call=None):
    return LocalEngine().get_pack(request, call or Listener())


class CancelAfter(Listener):
    """Wants an end once so many bytes are here, and notes when it said so."""

    def __init__(self, count):
        super().__init__()
        self.count, self.asked = count, 0.0

    def _enough(self):
        if not self.asked and any(at.done_bytes >= self.count for at in self.of(Transfer)):
            self.asked = time.monotonic()
        return self.asked > 0


def test_a_pack_is_downloaded_with_its_bytes_told_up_to_the_last(site, published):
    call = Listener()
    assert get(call=call).packs == ("remote",)
    assert find_pack("remote").manifest.licence.name == "Some-1.0"
    total = sum(published[role].stat().st_size for role in ("autoencoder", "denoiser"))
    told = [at.done_bytes for at in call.of(Transfer)]
    assert told == sorted(told) and told[-1] == total and {at.total_bytes for at in call.of(Transfer)} == {total}
    downloading = [at for at in call.of(Progress) if at.stage == "downloading"]
    assert downloading[-1].fraction == 1.0 and downloading[-1].step == total
    assert [at.stage for at in call.of(Progress)][-1] == "writing the backbone"


@pytest.mark.parametrize("accepted", ["", "MIT", "some-1.0"])
def test_without_the_very_licence_accepted_nothing_is_asked_of_the_network(site, accepted):
    with pytest.raises(VcmError) as caught:
        get(GetPack("a", "remote", accepted))
    assert caught.value.code is Code.LICENCE
    assert site.requests == []


def test_without_room_on_the_disk_nothing_is_asked_of_the_network(site, monkeypatch):
    monkeypatch.setattr(acquiring.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(VcmError) as caught:
        get()
    assert caught.value.code is Code.DISK_FULL
    assert site.requests == []


def test_a_download_is_cancelled_within_a_second_and_goes_on_where_it_was(site, published):
    site.slowly = (4096, 0.05)
    call = CancelAfter(20_000)
    with pytest.raises(VcmError) as caught:
        get(call=call)
    assert caught.value.code is Code.CANCELLED
    assert time.monotonic() - call.asked < 1
    site.slowly = None
    again = Listener()
    get(call=again)
    assert again.of(Transfer)[0].done_bytes >= 20_000, "what had arrived is not fetched again"
    resumed = [asked["Range"] for asked in site.requests if "Range" in asked]
    assert len(resumed) == 1 and int(resumed[0].removeprefix("bytes=").removesuffix("-")) > 0


def test_a_cancel_while_the_files_are_imported_leaves_no_pack(site):
    class CancelAtImport(Listener):
        def _enough(self):
            return any(at.stage.startswith("reading") for at in self.of(Progress))

    with pytest.raises(VcmError) as caught:
        get(call=CancelAtImport())
    assert caught.value.code is Code.CANCELLED
    with pytest.raises(VcmError):
        find_pack("remote")
    asked = len(site.requests)
    assert get().packs == ("remote",) and len(site.requests) == asked, "the downloads were kept"


def test_a_file_at_hand_needs_no_network_and_the_consent_for_an_unknown_hash(site, published):
    get(GetPack("a", "remote", "Some-1.0", source=str(published["autoencoder"].parent)))
    with pytest.raises(VcmError, match="No hash of"):
        get(GetPack("b", "by-hand", "Some-1.0", source=str(published["control"])))
    done = get(GetPack("b", "by-hand", "Some-1.0", source=str(published["control"]), accept_unverified=True))
    assert done.packs == ("by-hand",)
    assert site.requests == []


def test_what_has_no_licence_to_download_under_is_only_taken_from_a_file(site):
    with pytest.raises(VcmError, match="not downloaded by the program"):
        get(GetPack("b", "by-hand", "Some-1.0", accept_unverified=True))
    assert site.requests == []
