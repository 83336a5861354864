"""Debian for tests of containers, which pull no image: a base image as debootstrap makes it, and a
repository of the packages that go on top of it. Both come from where this machine's
apt has its packages, and are kept, so that the next run needs no network."""
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

RELEASE = "bookworm"


class Unavailable(Exception):
    """There is no Debian to be had here; the message says why."""


def run(*argv, **options):
    """What it prints. What fails says why with its last lines."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False, **options)
    if done.returncode != 0:
        raise Unavailable(f"{argv[0]} failed: " + " | ".join(done.stdout.splitlines()[-3:]))
    return done.stdout


def apt_sources():
    """Lines of a sources.list: this machine's, of the release."""
    lines = run("apt-get", "indextargets", "--format", "deb $(REPO_URI) $(RELEASE) $(COMPONENT)",
                "Created-By: Packages").splitlines()
    suites = {RELEASE, RELEASE + "-updates", RELEASE + "-security"}
    found = sorted({line for line in lines if line.split()[2:3] and line.split()[2] in suites})
    if not any(line.split()[2] == RELEASE for line in found):
        raise Unavailable(f"apt has no source for {RELEASE} here")
    return found


def like_the_host(root, sources):
    """Lets apt in the folder reach what it reaches outside of it."""
    (root / "etc/apt/sources.list").write_text("\n".join(sources) + "\n")
    dump = run("apt-config", "dump").splitlines()
    (root / "etc/apt/apt.conf.d/90host").write_text("".join(
        line + "\n" for line in dump if line.startswith(("Acquire::http", "Acquire::Check-"))))
    for name in ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt"):
        if os.path.exists(name):
            (root / name[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, root / name[1:])


def index(pool):
    """The file Packages of a flat repository."""
    with gzip.open(pool / "Packages.gz", "wt", encoding="utf-8") as out:
        for path in sorted(pool.glob("*.deb")):
            out.write(run("dpkg-deb", "--field", path).rstrip("\n"))
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            out.write(f"\nFilename: ./{path.name}\nSize: {path.stat().st_size}\nSHA256: {digest}\n\n")


def fill(folder, root, packages):
    """root is made below; in its path debootstrap takes no spaces."""
    sources = apt_sources()
    pool = folder / "pool"
    mirror = next(line.split()[1] for line in sources if line.split()[2] == RELEASE)
    env = dict(os.environ)
    proxy = run("apt-config", "shell", "proxy", "Acquire::http::Proxy").strip()
    if proxy:
        env["http_proxy"] = proxy.partition("=")[2].strip("'\"")
    # In a mount namespace of its own: where it fails, it leaves /proc in there.
    run("unshare", "--mount", "--propagation", "private", "debootstrap", "--variant=minbase", RELEASE, root,
        mirror, env=env)
    for path in (*root.glob("var/lib/apt/lists/*_*"), *root.glob("var/cache/apt/archives/*.deb")):
        path.unlink()
    run("tar", "-C", root, "--numeric-owner", "--exclude=./dev/*", "-cf", folder / "base.tar", ".")
    like_the_host(root, sources)
    run("chroot", root, "apt-get", "-q", "update")
    run("chroot", root, "apt-get", "-q", "-y", "install", "--download-only", "--no-install-recommends",
        *packages, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    pool.mkdir()
    for path in root.glob("var/cache/apt/archives/*.deb"):
        shutil.move(path, pool)
    index(pool)


def make(cache, packages):
    """The folder with base.tar and the repository pool, which has these packages and all they need."""
    key = hashlib.sha256(json.dumps([RELEASE, sorted(packages)]).encode()).hexdigest()[:16]
    kept = Path(cache) / f"debian-{RELEASE}-{key}"
    if kept.exists():
        return kept
    for tool in ("debootstrap", "unshare", "chroot", "apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise Unavailable(f"'{tool}' is not installed")
    kept.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=kept.parent, prefix="new-debian-"))
    try:
        folder.chmod(0o755)
        with tempfile.TemporaryDirectory(prefix="mer-debian-") as place:
            fill(folder, Path(place) / "root", packages)
        for older in kept.parent.glob("debian-*"):
            shutil.rmtree(older)
        folder.rename(kept)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return kept
