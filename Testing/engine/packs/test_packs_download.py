"""Downloads over real connections: cut, resumed, changed, wrong, refused, through a proxy."""

from __future__ import annotations

import hashlib
import json
import random
import socket
import threading
import time

import pytest
from faults import names
from file_server import serve_files, serve_proxy
from vcm.core.errors import Code, VcmError
from vcm.packs import connection
from vcm.packs import download as module
from vcm.packs.download import download

BODY = random.Random(5).randbytes(300_001)
SHA = ("sha256", hashlib.sha256(BODY).hexdigest())
OTHER = random.Random(6).randbytes(300_001)


@pytest.fixture
def site(monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(connection, "PIECE", 10_000)
    with serve_files({"/model.pt": BODY}) as running:
        yield running


def fetch(site, target, **options):
    download(site.url("/model.pt"), target, **{"digest": SHA, "pause": 0.01, "timeout": 5.0, **options})


def refused(site, target, **options):
    with pytest.raises(VcmError) as caught:
        fetch(site, target, **options)
    assert not target.exists()
    return caught.value


def test_a_file_arrives_whole_and_alone(site, tmp_path):
    heard = []
    fetch(site, tmp_path / "model.pt", size=len(BODY), progress=lambda done, total: heard.append((done, total)))
    assert (tmp_path / "model.pt").read_bytes() == BODY
    assert names(tmp_path) == ["model.pt"]
    assert heard[0] == (0, len(BODY))
    assert heard[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)


def test_cut_connections_are_taken_up_where_they_broke_off(site, tmp_path):
    site.cut_after = [70_000, 0, 90_000]
    fetch(site, tmp_path / "model.pt")
    assert (tmp_path / "model.pt").read_bytes() == BODY
    assert [request.get("Range") for request in site.requests] == [
        None,
        "bytes=70000-",
        "bytes=70000-",
        "bytes=160000-",
    ]


def test_a_later_call_goes_on_with_what_an_earlier_one_left(site, tmp_path):
    site.cut_after = [120_000, 0, 0]
    error = refused(site, tmp_path / "model.pt", attempts=2)
    assert error.code is Code.DOWNLOAD
    assert "120,000 of 300,001 bytes" in error.sentence
    site.cut_after = []
    fetch(site, tmp_path / "model.pt")
    assert site.requests[-1]["Range"] == "bytes=120000-"
    assert (tmp_path / "model.pt").read_bytes() == BODY


def test_a_file_that_was_complete_but_not_yet_in_place_is_not_fetched_again(site, tmp_path):
    (tmp_path / "model.pt.part").write_bytes(BODY)
    notes = {"url": site.url("/model.pt"), "validator": '"one"', "total": len(BODY)}
    (tmp_path / "model.pt.part.json").write_text(json.dumps(notes))
    fetch(site, tmp_path / "model.pt")
    assert site.requests == []
    assert names(tmp_path) == ["model.pt"]


@pytest.mark.parametrize("obey_if_range", [True, False])
def test_a_file_that_changed_meanwhile_is_started_anew(site, tmp_path, obey_if_range):
    site.obey_if_range = obey_if_range
    site.cut_after = [120_000, 0, 0]
    refused(site, tmp_path / "model.pt", attempts=2)
    site.cut_after = []
    site.files["/model.pt"], site.etags["/model.pt"] = OTHER, '"two"'
    fetch(site, tmp_path / "model.pt", digest=("sha256", hashlib.sha256(OTHER).hexdigest()))
    assert (tmp_path / "model.pt").read_bytes() == OTHER


def test_a_server_without_ranges_or_tags_sends_the_whole_again(site, tmp_path):
    site.ranges, site.etags["/model.pt"] = False, ""
    site.cut_after = [120_000]
    fetch(site, tmp_path / "model.pt")
    assert (tmp_path / "model.pt").read_bytes() == BODY
    assert "Range" not in site.requests[1]


def test_notes_that_were_tampered_with_only_cost_a_new_start(site, tmp_path):
    (tmp_path / "model.pt.part").write_bytes(b"rubbish")
    (tmp_path / "model.pt.part.json").write_text('{"url": 5, "what": []}')
    fetch(site, tmp_path / "model.pt")
    assert (tmp_path / "model.pt").read_bytes() == BODY


def test_a_wrong_hash_is_told_with_both_beginnings_and_nothing_stays(site, tmp_path):
    site.files["/model.pt"] = OTHER
    error = refused(site, tmp_path / "model.pt")
    assert error.code is Code.DOWNLOAD
    assert SHA[1][:12] in error.sentence
    assert hashlib.sha256(OTHER).hexdigest()[:12] in error.sentence
    assert names(tmp_path) == []


def test_md5_serves_where_nothing_better_is_known(site, tmp_path):
    fetch(site, tmp_path / "model.pt", digest=("md5", hashlib.md5(BODY).hexdigest()))
    with pytest.raises(VcmError, match="MD5"):
        fetch(site, tmp_path / "other.pt", digest=("md5", "0" * 32))


def test_an_existing_file_stays_until_the_new_one_is_right(site, tmp_path):
    (tmp_path / "model.pt").write_bytes(b"old")
    site.files["/model.pt"] = OTHER
    with pytest.raises(VcmError):
        fetch(site, tmp_path / "model.pt")
    assert (tmp_path / "model.pt").read_bytes() == b"old"


def test_another_size_is_refused_before_it_is_downloaded(site, tmp_path):
    error = refused(site, tmp_path / "model.pt", size=299_999)
    assert "300,001 bytes where 299,999" in error.sentence
    assert len(site.requests) == 1


def test_a_page_instead_of_the_file_sends_the_user_to_the_browser(site, tmp_path):
    site.files["/model.pt"], site.content_type = b"<html>Virus scan warning</html>", "text/html; charset=utf-8"
    error = refused(site, tmp_path / "model.pt")
    assert "web page" in error.sentence
    assert site.url("/model.pt") in error.remedy
    assert "--from" in error.remedy


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_not_tried_again(site, tmp_path, status):
    site.statuses = [status]
    error = refused(site, tmp_path / "model.pt")
    assert f"HTTP {status}" in error.sentence
    assert "--from" in error.remedy
    assert len(site.requests) == 1


def test_an_overloaded_server_is_asked_again(site, tmp_path):
    site.statuses = [503, 429]
    fetch(site, tmp_path / "model.pt")
    assert (tmp_path / "model.pt").read_bytes() == BODY


def test_no_network_offers_the_offline_way(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/model.pt"
        with pytest.raises(VcmError) as caught:
            download(url, tmp_path / "model.pt", attempts=2, pause=0.01)
    assert caught.value.code is Code.DOWNLOAD
    assert "--from FILE" in caught.value.remedy
    assert "--proxy" in caught.value.remedy


def test_a_server_that_falls_silent_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/model.pt"
        with pytest.raises(VcmError, match="could not be reached"):
            download(url, tmp_path / "model.pt", attempts=2, pause=0.01, timeout=0.2)


def test_a_cancelled_download_keeps_what_it_has(site, tmp_path):
    heard = []
    error = refused(
        site,
        tmp_path / "model.pt",
        progress=lambda done, total: heard.append(done),
        cancelled=lambda: bool(heard) and heard[-1] >= 50_000,
    )
    assert error.code is Code.CANCELLED
    kept = (tmp_path / "model.pt.part").stat().st_size
    assert 50_000 <= kept < len(BODY)
    fetch(site, tmp_path / "model.pt")
    assert site.requests[-1]["Range"] == f"bytes={kept}-"


def test_too_little_room_is_told_before_the_download(site, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 200_000})())
    error = refused(site, tmp_path / "model.pt")
    assert error.code is Code.DISK_FULL
    assert "VCM_PACKS" in error.remedy


def test_a_proxy_is_used_when_given(site, tmp_path, monkeypatch):
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serve_proxy() as (proxy, seen):
        fetch(site, tmp_path / "given.pt", proxy=proxy)
        monkeypatch.setenv("http_proxy", proxy)
        fetch(site, tmp_path / "environment.pt")
    assert seen == [site.url("/model.pt")] * 2
    assert (tmp_path / "given.pt").read_bytes() == (tmp_path / "environment.pt").read_bytes() == BODY


def test_a_proxy_that_is_no_address_is_refused(site, tmp_path):
    assert refused(site, tmp_path / "model.pt", proxy="proxy:3128").code is Code.BAD_REQUEST


def test_a_folder_that_cannot_be_written_ends_in_a_sentence(site, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(VcmError, match="file"):
        fetch(site, tmp_path / "file" / "model.pt")


# Servers that mean no good


def test_no_more_is_taken_than_the_catalogue_promises(site, tmp_path):
    site.manner = "endless"
    error = refused(site, tmp_path / "model.pt", size=len(BODY), digest=None)
    assert error.code is Code.DOWNLOAD
    assert "more than the 300,001 bytes" in error.sentence
    assert names(tmp_path) == []


def test_a_body_without_end_and_without_any_promise_is_ended_too(site, tmp_path, monkeypatch):
    site.manner = "endless"
    monkeypatch.setattr(module, "MOST_BYTES", 5_000_000)
    assert "more than the 5,000,000 bytes" in refused(site, tmp_path / "model.pt", digest=None).sentence
    assert names(tmp_path) == []


def test_a_file_without_a_length_arrives(site, tmp_path):
    site.manner = "unmeasured"
    fetch(site, tmp_path / "model.pt", size=len(BODY))
    assert (tmp_path / "model.pt").read_bytes() == BODY
    fetch(site, tmp_path / "again.pt")
    assert (tmp_path / "again.pt").read_bytes() == BODY


def test_a_file_without_a_length_that_breaks_off_is_taken_up_where_the_size_is_known(site, tmp_path):
    site.manner, site.cut_after = "unmeasured", [100_000]
    fetch(site, tmp_path / "model.pt", size=len(BODY))
    assert (tmp_path / "model.pt").read_bytes() == BODY


def test_what_comes_after_the_announced_length_is_not_taken(site, tmp_path):
    site.manner = "long"
    fetch(site, tmp_path / "model.pt")
    assert (tmp_path / "model.pt").read_bytes() == BODY


def test_a_drip_is_given_up(site, tmp_path, monkeypatch):
    site.manner = "drip"
    monkeypatch.setattr(connection, "PATIENCE_S", 1.0)
    began = time.monotonic()
    error = refused(site, tmp_path / "model.pt")
    assert error.code is Code.DOWNLOAD
    assert "bytes a second" in error.sentence
    assert time.monotonic() - began < 10
    assert 0 < (tmp_path / "model.pt.part").stat().st_size < 200


@pytest.mark.parametrize("manner", ["silent", "silent head", "drip head"])
def test_a_silent_server_is_given_up(site, tmp_path, manner):
    site.manner = manner
    began = time.monotonic()
    error = refused(site, tmp_path / "model.pt", timeout=0.3, attempts=2)
    assert error.code is Code.DOWNLOAD
    assert "sent nothing for 0.3 s" in error.sentence
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("manner", ["silent", "silent head", "drip", "drip head", "endless"])
def test_a_cancellation_is_heard_within_a_second_whatever_the_server_does(site, tmp_path, monkeypatch, manner):
    site.manner = manner
    asked = threading.Event()
    threading.Timer(1.0, asked.set).start()
    began = time.monotonic()
    error = refused(site, tmp_path / "model.pt", digest=None, cancelled=asked.is_set)
    assert error.code is Code.CANCELLED
    assert time.monotonic() - began < 2.0


def test_redirections_without_end_and_out_of_the_web_are_refused(site, tmp_path):
    site.manner = "circle"
    assert "in a circle" in refused(site, tmp_path / "model.pt").sentence
    secret = tmp_path / "secret"
    secret.write_text("mine")
    site.manner = "elsewhere"
    for goal in (secret.as_uri(), "ftp://127.0.0.1/x", "data:,x"):
        site.goal = goal
        assert refused(site, tmp_path / "model.pt", digest=None, attempts=1).code is Code.DOWNLOAD
    assert names(tmp_path) == ["secret"]
