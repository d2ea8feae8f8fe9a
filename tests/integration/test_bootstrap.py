"""Each way in which ./run sets itself up, tried once in a checkout and a HOME of its own."""

from __future__ import annotations

import ensurepip
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.contract.reference import ROOT

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BASE_PYTHON = os.path.realpath(sys.executable)


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


class Checkout:
    """A checkout with a lock of one tiny wheel, and a PATH that holds what the story says."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a checkout"
        self.home = folder / "home"
        self.bin = folder / "bin"
        self.wheels = folder / "wheels"
        self.calls = folder / "calls"
        for made in (self.root / "ops", self.home, self.bin, self.wheels):
            made.mkdir(parents=True)
        shutil.copy(ROOT / "run", self.root)
        shutil.copy(ROOT / "ops" / "bootstrap.sh", self.root / "ops")
        (self.root / "ops" / "__init__.py").touch()
        (self.root / "ops" / "__main__.py").write_text(
            "import sys, tinypkg\nprint(tinypkg.VERSION, sys.prefix, *sys.argv[1:], sep='|')\n"
        )
        self.lock(self.wheel())
        self.environment = {
            "PATH": f"{self.bin}:{SYSTEM_PATH}",
            "HOME": str(self.home),
            "PYTHON": BASE_PYTHON,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            "UV_NO_INDEX": "1",
            "UV_FIND_LINKS": str(self.wheels),
            "UV_OFFLINE": "1",
        }

    def wheel(self) -> str:
        """A wheel of one module; gives its SHA-256."""
        path = self.wheels / "tinypkg-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("tinypkg.py", "VERSION = '1.0'\n")
            info = "tinypkg-1.0.dist-info"
            archive.writestr(
                f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinypkg\nVersion: 1.0\n"
            )
            wheel = "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            archive.writestr(f"{info}/WHEEL", wheel)
            record = "".join(f"{name},,\n" for name in archive.namelist())
            archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def lock(self, digest: str, note: str = "") -> None:
        text = f"# {note}\ntinypkg==1.0 --hash=sha256:{digest}\n"
        for name in ("requirements.lock", "requirements-dev.lock"):
            (self.root / name).write_text(f"{text}# {name}\n", encoding="utf-8")

    def run(self, *argv: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
        merged = {**self.environment, **environment}
        return subprocess.run(
            ["/bin/sh", str(self.root / "run"), *argv],
            env={name: value for name, value in merged.items() if value is not None},
            cwd=self.home, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def fake_python(self, *, refuses: str) -> str:
        """An interpreter that fails for every command line with ``refuses`` in it."""
        script(
            self.bin / "python-of-the-box",
            f'case "$*" in *{refuses}*) exit 1;; esac\nexec {BASE_PYTHON} "$@"',
        )
        return str(self.bin / "python-of-the-box")

    @property
    def venv(self) -> Path:
        return self.root / "var" / "venv"


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def works(checkout, done, way="") -> None:
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"1.0|{checkout.venv}|status|a b\n"
    if way:
        assert f"by {way}; once" in done.stderr


def test_venv_and_then_nothing_more_to_do(checkout):
    works(checkout, checkout.run("status", "a b"), "venv")
    stamp = (checkout.venv / "quantum.stamp").stat().st_mtime_ns
    again = checkout.run("status", "a b")
    works(checkout, again)
    assert again.stderr == ""
    assert (checkout.venv / "quantum.stamp").stat().st_mtime_ns == stamp
    # Everything that was written lies in the checkout
    assert list(checkout.home.iterdir()) == []


def test_uv_where_it_is_installed(checkout):
    found = shutil.which("uv", path=f"{Path(sys.executable).parent}:{SYSTEM_PATH}")
    assert found, "uv is a development requirement; run ./test"
    (checkout.bin / "uv").symlink_to(found)
    works(checkout, checkout.run("status", "a b"), "uv")


def test_system_pip_where_ensurepip_is_missing(checkout):
    # Given an interpreter as Debian ships it: venv without ensurepip, and a pip of its own
    python = checkout.fake_python(refuses="ensurepip")
    if subprocess.run(
        [python, "-m", "pip", "--version"], capture_output=True, check=False
    ).returncode:
        bundled = next((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
        script(
            checkout.bin / "python-of-the-box",
            'case "$*" in *ensurepip*) exit 1;; esac\n'
            f'[ "$1 $2" = "-m pip" ] && shift 2 && exec {BASE_PYTHON} {bundled}/pip "$@"\n'
            f'exec {BASE_PYTHON} "$@"',
        )
    works(checkout, checkout.run("status", "a b", PYTHON=python), "pip")


def test_apt_as_root_installs_what_is_missing(checkout):
    # Given neither ensurepip nor pip until apt-get has installed them
    installed = checkout.bin / "installed"
    script(
        checkout.bin / "python-of-the-box",
        f'if [ ! -e "{installed}" ]; then case "$*" in *ensurepip*|*"-m pip"*) exit 1;; esac; fi\n'
        f'exec {BASE_PYTHON} "$@"',
    )
    script(
        checkout.bin / "apt-get",
        f'echo "$*" >> "{checkout.calls}"\ncase "$1" in install) : > "{installed}";; esac',
    )
    script(checkout.bin / "id", "echo 0")
    done = checkout.run("status", "a b", PYTHON=str(checkout.bin / "python-of-the-box"))
    works(checkout, done, "apt")
    asked = checkout.calls.read_text()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert asked.startswith("update")
    assert f"python{version}-venv" in asked


def test_pip_wheel_without_root(checkout, tmp_path):
    if not (shutil.which("dpkg-deb") and shutil.which("dpkg")):
        pytest.skip("this way is for Debian and its kin: no dpkg here")
    # Given no root, and a package archive that holds pip as a wheel
    tree = tmp_path / "deb"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: python3-pip-whl\nVersion: 1\nArchitecture: all\nMaintainer: t <t@t>\n"
        "Description: t\n"
    )
    (tree / "usr" / "share" / "python-wheels").mkdir(parents=True)
    bundled = next((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
    shutil.copy(bundled, tree / "usr" / "share" / "python-wheels")
    subprocess.run(["dpkg-deb", "-b", tree, tmp_path / "p.deb"], check=True, capture_output=True)
    script(checkout.bin / "apt-get", f'[ "$1" = download ] && cp "{tmp_path}/p.deb" .')
    script(checkout.bin / "id", "echo 1000")
    python = checkout.fake_python(refuses="ensurepip*) exit 1;; *'-m pip'")
    works(checkout, checkout.run("status", "a b", PYTHON=python), "wheel")


def test_where_nothing_works_the_command_to_type_is_printed(checkout):
    python = checkout.fake_python(refuses="ensurepip*) exit 1;; *'-m pip'")
    script(checkout.bin / "id", "echo 1000")
    script(checkout.bin / "apt-get", "exit 1")
    done = checkout.run(
        "status", PYTHON=python, QUANTUM_OFFLINE="1", QUANTUM_WHEELS=str(checkout.wheels)
    )
    assert done.returncode == 1
    assert "sudo sh -c 'apt-get update && apt-get install -y python3" in done.stderr
    assert not (checkout.venv / "quantum.stamp").exists()


def test_old_python_is_named_with_the_package_to_install(checkout):
    for name in ("python3", "python", *(f"python3.{minor}" for minor in range(11, 15))):
        script(checkout.bin / name, "echo 3.9")
    for name in ("sh", "id", "uname", "mkdir", "dirname", "cat", "cmp"):
        (checkout.bin / name).symlink_to(shutil.which(name) or name)
    script(checkout.bin / "apt-get", "exit 1")
    done = checkout.run("status", PYTHON=None, PATH=str(checkout.bin))
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr
    assert "python3 is Python 3.9" in done.stderr
    assert "python3.11-venv" in done.stderr


def test_wheel_with_another_hash_is_refused(checkout):
    checkout.lock("0" * 64)
    done = checkout.run("status")
    assert done.returncode == 1
    assert not (checkout.venv / "quantum.stamp").exists()
    # And once the lock is right, the same command goes on
    checkout.lock(checkout.wheel())
    works(checkout, checkout.run("status", "a b"))


def test_half_made_environment_is_made_anew(checkout):
    works(checkout, checkout.run("status", "a b"))
    (checkout.venv / "quantum.stamp").unlink()
    for found in checkout.venv.rglob("tinypkg.py"):
        found.unlink()
    works(checkout, checkout.run("status", "a b"), "venv")


def test_new_lock_is_installed(checkout):
    works(checkout, checkout.run("status", "a b"))
    checkout.lock(checkout.wheel(), note="changed")
    works(checkout, checkout.run("status", "a b"), "venv")


def test_moved_checkout_is_made_anew(checkout, tmp_path):
    works(checkout, checkout.run("status", "a b"))
    moved = tmp_path / "moved here"
    checkout.root.rename(moved)
    checkout.root = moved
    works(checkout, checkout.run("status", "a b"), "venv")


def test_folder_that_is_not_ours_is_left_alone(checkout):
    checkout.venv.mkdir(parents=True)
    (checkout.venv / "precious").write_text("data")
    done = checkout.run("status")
    assert done.returncode == 1
    assert "was not made by ./run" in done.stderr
    assert (checkout.venv / "precious").read_text() == "data"


def test_home_may_be_unset_and_quantum_home_elsewhere(checkout, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    done = checkout.run("x", HOME=None, QUANTUM_HOME=str(elsewhere))
    assert done.stdout == f"1.0|{elsewhere}/venv|x\n"
    assert not (checkout.root / "var").exists()


def test_offline_from_a_folder_of_wheels(checkout):
    done = checkout.run(
        "status", "a b", PIP_NO_INDEX=None, PIP_FIND_LINKS=None, QUANTUM_OFFLINE="1",
        QUANTUM_WHEELS=str(checkout.wheels),
    )  # fmt: skip
    works(checkout, done)


def test_two_at_once_share_one_environment(checkout):
    command = ["/bin/sh", str(checkout.root / "run"), "status", "a b"]
    started = [
        subprocess.Popen(command, env=checkout.environment, stdout=subprocess.PIPE, text=True,
                         stderr=subprocess.PIPE)
        for _ in range(2)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=100) for process in started]
    assert [out for out, _ in outputs] == [f"1.0|{checkout.venv}|status|a b\n"] * 2
    assert sum("; once" in err for _, err in outputs) == 1
