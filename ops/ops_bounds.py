"""The places and services that are out of bounds for every operation; the only list of them.

docs/OPS_GOVERNOR.md shows it. ops_scope.py decides by it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """A kind of place that is out of bounds, and what is done instead.

    ``wholes`` may not be named themselves, what is in them may; ``*`` stands for one name.
    ``trees`` are out of bounds with all that lies in them, and so is a folder that holds one.
    ``names`` are patterns of names that are out of bounds in any folder; a folder may hold such.
    A place that does not begin with ``/`` is one of a checkout, ``.`` the checkout itself.
    """

    what: str
    cure: str
    wholes: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


LEDGER = Rule(
    "the signoff ledger",
    "only ops/ops_ledger_append.py and the ledger's consumer write it",
    trees=("ops/ledger", "docs/OPS_CHANGELOG.md", "docs/OPS_CHANGELOG"),
)
EVERYTHING = Rule(
    "everything there is",
    "name the files or folders in it that change",
    wholes=("/", "/etc", "/home", "/home/*", "/usr", "/usr/local", "/opt", "/srv", "/mnt",
            "/media", "/var", "/var/lib", "/run", "/tmp", "."),  # noqa: S108 - a name
)  # fmt: skip
RULES = (
    EVERYTHING,
    Rule(
        "keys and secrets",
        "whoever owns the secret changes it, outside of any operation",
        trees=("/etc/ssl/private", "/etc/pki/tls/private", "/etc/letsencrypt",
               "/etc/quantum/positions.env"),
        names=("*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.kdbx", "*.gpg", ".ssh", ".gnupg",
               ".aws", ".kube", "id_rsa", "id_ecdsa", "id_ed25519", "authorized_keys", ".env",
               ".netrc", ".pgpass", ".git-credentials", "*secret*", "*credential*", "*password*",
               "*api[-_]key*", "*private[-_]key*"),
    ),
    Rule(
        "access, network and firewall",
        "this is no operation: it changes who may do what, and a mistake locks everybody out",
        trees=("/root", "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/sudoers",
               "/etc/sudoers.d", "/etc/pam.d", "/etc/security", "/etc/ssh", "/etc/polkit-1",
               "/etc/network", "/etc/netplan", "/etc/NetworkManager", "/etc/systemd/network",
               "/etc/nftables.conf", "/etc/iptables", "/etc/ufw", "/etc/firewalld", "/etc/hosts",
               "/etc/resolv.conf"),
    ),
    Rule(
        "the operating system",
        "the package manager changes it",
        trees=("/boot", "/dev", "/proc", "/sys", "/bin", "/sbin", "/lib", "/lib64", "/usr/bin",
               "/usr/sbin", "/usr/lib", "/etc/fstab", "/etc/ld.so.preload"),
    ),
    Rule(
        "what happened",
        "logs are evidence; reading them needs no permission",
        trees=("/var/log",),
    ),
    Rule(
        "data of servers",
        "change it through its server",
        trees=("/var/lib/redis", "/var/lib/valkey", "/var/lib/grafana/grafana.db",
               "/var/lib/prometheus", "var/data", "var/demo/data"),
    ),
    Rule("history", "git itself changes it: commit, revert", names=(".git",)),
    LEDGER,
    Rule(
        "the governor's own rules",
        "who is bound by a rule does not change it on the way: that is a commit of its own",
        trees=("docs/OPS_GOVERNOR.md", "ops/ops_bounds.py", "ops/ops_scope.py",
               "ops/ops_prompt.py", "ops/ops_prompt_fill.py", "ops/ops_prompt_template_v1.txt",
               "ops/ops_signoff.py", "ops/hooks"),
    ),
    Rule(
        "what executes trades, or permits them",
        "its owners release it; an operation never changes trading logic on the way",
        trees=("microservices/apply_layer", "microservices/intent_bridge",
               "microservices/intent_executor", "microservices/execution",
               "microservices/governor", "microservices/harvest_brain",
               "microservices/position_state_brain", "consumers/p33.py", "quantum_ops/p33",
               "quantum_ops/permits"),
    ),
)  # fmt: skip

SOURCE = (".py", ".sh", ".md", ".lua")
"""A name with such an end is never one of ``names``: producers/credentials.py holds no secret."""

CHECKOUTS = ("/home/qt/quantum_trader",)
"""Where this repository is checked out on other hosts; a prompt is filled before it goes there."""

SERVICES = {
    "all": "everything at once cannot be verified step by step",
    **dict.fromkeys(
        ("ssh", "sshd", "networking", "networkmanager", "systemd-networkd", "systemd-resolved",
         "nftables", "iptables", "ufw", "firewalld", "dbus", "polkit", "systemd-logind"),
        "access, network and firewall stay as they are",
    ),
    **dict.fromkeys(
        ("quantum-apply-layer", "quantum-intent-bridge", "quantum-intent-executor",
         "quantum-execution", "quantum-governor", "quantum-harvest-brain"),
        "it executes trades, and its owners restart it",
    ),
}  # fmt: skip
"""Services that no operation restarts, in small letters and without suffix, with the reason."""
