"""Each way in which ./run sets itself up, tried once in a checkout and a HOME of its own."""

from __future__ import annotations

import ensurepip
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.contract.reference import ROOT
from tests.waiting import wait_until

pytestmark = pytest.mark.whole

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BASE_PYTHON = os.path.realpath(sys.executable)


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def pip_wheel() -> Path:
    """The pip that ensurepip installs; Debian keeps it in a folder of its own."""
    folders = [Path(ensurepip.__file__).parent / "_bundled", Path("/usr/share/python-wheels")]
    found = [wheel for folder in folders for wheel in folder.glob("pip-*.whl")]
    assert found, f"no wheel of pip in {folders}"
    return found[0]


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
            f'case "$*" in *{refuses}*) exit 1;; esac\nexec "{BASE_PYTHON}" "$@"',
        )
        return str(self.bin / "python-of-the-box")

    def install_uv(self) -> None:
        found = shutil.which("uv", path=f"{Path(sys.executable).parent}:{SYSTEM_PATH}")
        assert found, "uv is a development requirement; run ./test"
        (self.bin / "uv").unlink(missing_ok=True)
        (self.bin / "uv").symlink_to(found)

    @property
    def venv(self) -> Path:
        return self.root / "var" / "venv"


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


@pytest.fixture
def quick(checkout):
    """A checkout where uv is installed: ten times as fast where the way does not matter."""
    checkout.install_uv()
    return checkout


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
    # Its supervisorctl, if the lock has one, finds our plugin from any folder
    [module] = checkout.venv.glob("lib/python*/site-packages/quantum_supervisorctl.py")
    assert repr(str(checkout.root)) in module.read_text()
    assert "quantum_supervisorctl:make" in (checkout.venv / "etc" / "supervisord.conf").read_text()
    # Everything that was written lies in the checkout
    assert list(checkout.home.iterdir()) == []


def test_an_environment_that_borrows_anothers_packages_adds_nothing_to_them(tmp_path):
    # given an environment whose interpreter is another one's
    found = subprocess.run(
        [sys.executable, "-I", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    module = Path(found) / "quantum_supervisorctl.py"
    before = module.read_bytes() if module.exists() else None
    script_ = (
        f'. "{ROOT}/ops/bootstrap.sh"; root={tmp_path}; venv={tmp_path}/venv;'
        f' PYTHON_BIN="{sys.executable}"; bootstrap_supervisorctl'
    )
    # when supervisorctl is told where the system is
    subprocess.run(["/bin/sh", "-euc", script_], check=True)
    # then the other one's packages are as they were, and no plugin is promised
    assert (module.read_bytes() if module.exists() else None) == before
    conf = (tmp_path / "venv" / "etc" / "supervisord.conf").read_text()
    assert conf == f"[supervisorctl]\nserverurl=unix://{tmp_path}/var/run/supervisor.sock\n"


def test_uv_where_it_is_installed(checkout):
    checkout.install_uv()
    works(checkout, checkout.run("status", "a b"), "uv")


def test_uv_that_does_not_get_through_leaves_it_to_the_next_way(checkout):
    # given a uv that makes the environment and then cannot fetch anything
    script(
        checkout.bin / "uv",
        f'[ "$1" = venv ] || exit 2\n'
        f'exec "{BASE_PYTHON}" -I -m venv --without-pip "{checkout.venv}"',
    )
    done = checkout.run("status", "a b")
    works(checkout, done, "venv")
    assert "uv did not get there" in done.stderr
    # and when it was asked for by name, then its failure is the answer
    (checkout.venv / "quantum.stamp").unlink()
    forced = checkout.run("status", QUANTUM_BOOTSTRAP="uv")
    assert forced.returncode == 1
    assert "by uv failed" in forced.stderr


def test_system_pip_where_ensurepip_is_missing(checkout):
    # Given an interpreter as Debian ships it: venv without ensurepip, and a pip of its own
    python = checkout.fake_python(refuses="ensurepip")
    if subprocess.run(
        [python, "-m", "pip", "--version"], capture_output=True, check=False
    ).returncode:
        bundled = pip_wheel()
        script(
            checkout.bin / "python-of-the-box",
            'case "$*" in *ensurepip*) exit 1;; esac\n'
            f'[ "$1 $2" = "-m pip" ] && shift 2 && exec "{BASE_PYTHON}" "{bundled}/pip" "$@"\n'
            f'exec "{BASE_PYTHON}" "$@"',
        )
    works(checkout, checkout.run("status", "a b", PYTHON=python), "pip")


def test_apt_as_root_installs_what_is_missing(checkout):
    # Given neither ensurepip nor pip until apt-get has installed them
    installed = checkout.bin / "installed"
    script(
        checkout.bin / "python-of-the-box",
        f'if [ ! -e "{installed}" ]; then case "$*" in *ensurepip*|*"-m pip"*) exit 1;; esac; fi\n'
        f'exec "{BASE_PYTHON}" "$@"',
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
    bundled = pip_wheel()
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


def test_wheel_with_another_hash_is_refused(quick):
    quick.lock("0" * 64)
    done = quick.run("status")
    assert done.returncode == 1
    assert not (quick.venv / "quantum.stamp").exists()
    # And once the lock is right, the same command goes on
    quick.lock(quick.wheel())
    works(quick, quick.run("status", "a b"))


def test_half_made_environment_is_made_anew(quick):
    works(quick, quick.run("status", "a b"))
    (quick.venv / "quantum.stamp").unlink()
    for found in quick.venv.rglob("tinypkg.py"):
        found.unlink()
    works(quick, quick.run("status", "a b"), "uv")


def test_under_any_umask_nobody_else_may_write_what_is_made(quick):
    done = subprocess.run(
        ["/bin/sh", str(quick.root / "run"), "status", "a b"],
        env=quick.environment, capture_output=True, text=True, check=False, umask=0,
    )  # fmt: skip
    works(quick, done)
    made = [quick.root / "var", *(quick.root / "var").rglob("*")]
    # uv lets everybody lock its lock files, and reads nothing from them
    open_ones = [path for path in made if not path.is_symlink() and path.lstat().st_mode & 0o022]
    assert [path for path in open_ones if not path.name.endswith(".lock")] == []


def test_no_process_leaves_a_core_file_with_what_it_knew(quick):
    (quick.root / "ops" / "__main__.py").write_text(
        "import resource\nprint(resource.getrlimit(resource.RLIMIT_CORE)[0])\n"
    )
    done = subprocess.run(
        ["/bin/sh", "-c", f'ulimit -S -c unlimited; exec /bin/sh "{quick.root}/run"'],
        env=quick.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_new_lock_is_installed(quick):
    works(quick, quick.run("status", "a b"))
    quick.lock(quick.wheel(), note="changed")
    works(quick, quick.run("status", "a b"), "uv")


def test_moved_checkout_is_made_anew(quick, tmp_path):
    works(quick, quick.run("status", "a b"))
    moved = tmp_path / "moved here"
    quick.root.rename(moved)
    quick.root = moved
    works(quick, quick.run("status", "a b"), "uv")


def test_folder_that_is_not_ours_is_left_alone(quick):
    quick.venv.mkdir(parents=True)
    (quick.venv / "precious").write_text("data")
    done = quick.run("status")
    assert done.returncode == 1
    assert "was not made by ./run" in done.stderr
    assert (quick.venv / "precious").read_text() == "data"


def test_home_may_be_unset_and_quantum_home_elsewhere(quick, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    done = quick.run("x", HOME=None, QUANTUM_HOME=str(elsewhere))
    assert done.stdout == f"1.0|{elsewhere}/venv|x\n"
    assert not (quick.root / "var").exists()


def test_offline_from_a_folder_of_wheels(quick):
    done = quick.run(
        "status", "a b", UV_NO_INDEX=None, UV_FIND_LINKS=None, UV_OFFLINE=None,
        QUANTUM_OFFLINE="1", QUANTUM_WHEELS=str(quick.wheels),
    )  # fmt: skip
    works(quick, done, "uv")


def test_two_at_once_share_one_environment(quick):
    command = ["/bin/sh", str(quick.root / "run"), "status", "a b"]
    started = [
        subprocess.Popen(command, env=quick.environment, stdout=subprocess.PIPE, text=True,
                         stderr=subprocess.PIPE)
        for _ in range(2)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=100) for process in started]
    assert [out for out, _ in outputs] == [f"1.0|{quick.venv}|status|a b\n"] * 2
    assert sum("; once" in err for _, err in outputs) == 1


def test_through_a_link_from_elsewhere(quick, tmp_path):
    # given a relative link to a link to run, as in ~/bin
    (tmp_path / "bin of mine").mkdir()
    link = tmp_path / "bin of mine" / "quantum"
    (quick.home / "run").symlink_to(quick.root / "run")
    link.symlink_to(Path("..") / quick.home.name / "run")
    done = subprocess.run(
        ["/bin/sh", str(link), "status", "a b"],
        env=quick.environment, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    works(quick, done)


def test_kill_9_half_way_is_made_good_by_the_next_run(checkout):
    # given an installer that is killed with its shell, after python has been put in place
    hang = checkout.bin / "uv"
    reached = checkout.home / "reached"
    script(
        hang,
        f'[ "$1" = venv ] && exec "{BASE_PYTHON}" -I -m venv --without-pip "{checkout.venv}"\n'
        f': >"{reached}"; exec sleep 300',
    )
    command = ["/bin/sh", str(checkout.root / "run"), "status", "a b"]
    first = subprocess.Popen(
        command, env=checkout.environment, stderr=subprocess.DEVNULL, start_new_session=True
    )
    wait_until(reached.exists, what="the installer runs")
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert (checkout.venv / "bin" / "python").exists()
    assert not (checkout.venv / "quantum.stamp").exists()
    # when the next run comes, then it does not take the half for the whole
    checkout.install_uv()
    works(checkout, checkout.run("status", "a b"), "uv")


def test_the_lock_outlives_the_shell_while_its_installer_still_writes(checkout):
    # given a shell killed alone, whose installer goes on
    reached, finish = checkout.home / "reached", checkout.home / "finish"
    checkout.install_uv()
    real_uv = (checkout.bin / "uv").readlink()
    (checkout.bin / "uv").unlink()
    script(
        checkout.bin / "uv",
        f'[ "$1" = venv ] || {{ : >"{reached}"; until [ -e "{finish}" ]; do sleep 0.05; done; }}\n'
        f'exec "{real_uv}" "$@"',
    )
    command = ["/bin/sh", str(checkout.root / "run"), "status", "a b"]
    first = subprocess.Popen(command, env=checkout.environment, stderr=subprocess.DEVNULL)
    wait_until(reached.exists, what="the installer runs")
    first.kill()
    first.wait()
    # when a second run comes, then it says that it waits, and uses what the first one made
    second = subprocess.Popen(
        command, env=checkout.environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert second.stderr is not None
    assert second.stderr.readline().startswith("waiting for another")
    assert not (checkout.venv / "quantum.stamp").exists()
    finish.touch()
    out, err = second.communicate(timeout=100)
    assert (out, err) == (f"1.0|{checkout.venv}|status|a b\n", "")


def test_what_is_started_neither_holds_the_lock_nor_sees_the_installers_settings(quick):
    # given the first run, which sets up
    (quick.root / "ops" / "__main__.py").write_text(
        "import os, sys\n"
        "held = [os.readlink(f'/proc/self/fd/{n}') for n in range(3, 20)"
        " if os.path.islink(f'/proc/self/fd/{n}')]\n"
        "print(any('bootstrap.lock' in name for name in held),"
        " sorted(n for n in os.environ if n.startswith(('PIP_CACHE', 'UV_CACHE', 'PIP_USER'))))\n"
    )
    done = quick.run("status")
    assert (done.returncode, done.stdout) == (0, "False []\n"), done.stderr


def test_apt_that_cannot_help_lets_the_next_way_try(checkout):
    # given root, no ensurepip, no pip, and an apt-get without a network
    python = checkout.fake_python(refuses="ensurepip*) exit 1;; *'-m pip'")
    script(checkout.bin / "id", "echo 0")
    script(checkout.bin / "apt-get", f'echo "$*" >> "{checkout.calls}"; exit 100')
    done = checkout.run("status", PYTHON=python)
    # then the wheel way was tried too, and the command to type is told
    asked = checkout.calls.read_text()
    assert "install" in asked
    assert done.returncode == 1
    assert "type: apt-get update && apt-get install -y python3" in done.stderr
    if shutil.which("dpkg"):
        assert "download" in asked


def test_home_that_cannot_be_written_and_user_settings_of_pip_do_not_matter(checkout):
    # given a HOME that is a file, and settings that send packages elsewhere
    (checkout.root.parent / "no home").touch()
    done = checkout.run(
        "status", "a b", HOME=str(checkout.root.parent / "no home"), PIP_USER="1",
        PIP_TARGET=str(checkout.home / "elsewhere"), PYTHONPATH=str(checkout.home),
    )  # fmt: skip
    works(checkout, done, "venv")
    assert not (checkout.home / "elsewhere").exists()


def test_uv_with_home_unset(checkout):
    checkout.install_uv()
    works(checkout, checkout.run("status", "a b", HOME=None, VIRTUAL_ENV="/nowhere"), "uv")


def test_a_folder_that_cannot_be_made_is_named_with_the_cure(quick):
    (quick.home / "file").touch()
    done = quick.run("status", QUANTUM_HOME=str(quick.home / "file" / "var"))
    assert done.returncode == 1
    assert f"QUANTUM_HOME={quick.home}/file/var" in done.stderr
    assert "QUANTUM_HOME=DIR" in done.stderr
