"""The Merkle tree against published values, and against the definition of RFC 6962 itself."""

from __future__ import annotations

from hashlib import sha256

import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from quantum_ops.ledger import merkle
from quantum_ops.ledger.merkle import Head

# The tree of eight inputs that implementations of RFC 6962 test with, its roots and some proofs.
INPUTS = [
    bytes.fromhex(one)
    for one in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
LEAVES = [merkle.leaf(one) for one in INPUTS]
TREE = merkle.Tree(LEAVES)
FULL = 40


def defined(leaves):
    """MTH of RFC 6962, section 2.1, as it is written there."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + defined(leaves[:split]) + defined(leaves[split:])).digest()


def hexed(proof):
    return [one.hex() for one in proof]


def test_published_roots():
    assert [TREE.root(size).hex() for size in range(9)] == ROOTS
    assert merkle.EMPTY.hex() == ROOTS[0]
    assert LEAVES[0].hex() == ROOTS[1]  # the hash of an empty leaf is not that of an empty tree


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_published_inclusion_proofs(index, size):
    proof = TREE.inclusion(index, size)
    assert hexed(proof) == INCLUSION[index, size]
    head = Head(size, bytes.fromhex(ROOTS[size]))
    assert merkle.verify_inclusion(LEAVES[index], index, head, proof)


@pytest.mark.parametrize(("old", "new"), CONSISTENCY)
def test_published_consistency_proofs(old, new):
    proof = TREE.consistency(old, new)
    assert hexed(proof) == CONSISTENCY[old, new]
    heads = [Head(size, bytes.fromhex(ROOTS[size])) for size in (old, new)]
    assert merkle.verify_consistency(*heads, proof)


def test_every_proof_of_every_small_tree_holds_and_holds_for_nothing_else():
    leaves = [merkle.leaf(b"%d" % number) for number in range(FULL)]
    tree = merkle.Tree(leaves)
    heads = [Head(size, defined(leaves[:size])) for size in range(FULL + 1)]
    for size in range(1, FULL + 1):
        assert tree.root(size) == heads[size].root
        for index in range(size):
            proof = tree.inclusion(index, size)
            assert len(proof) <= size.bit_length()
            assert merkle.verify_inclusion(leaves[index], index, heads[size], proof)
            assert not merkle.verify_inclusion(leaves[index - 1], index, heads[size], proof) or (
                size == 1
            )
            assert not merkle.verify_inclusion(leaves[index], index, heads[size - 1], proof)
            assert not merkle.verify_inclusion(
                leaves[index], index, heads[size], [*proof, b"x" * 32]
            )
            if proof:
                assert not merkle.verify_inclusion(leaves[index], index, heads[size], proof[:-1])
        for old in range(size + 1):
            proof = tree.consistency(old, size)
            assert merkle.verify_consistency(heads[old], heads[size], proof)
            forged = Head(old, merkle.leaf(b"forged"))
            assert not merkle.verify_consistency(forged, heads[size], proof)
            # Every tree starts with the empty one: that alone says nothing of the new root.
            if old:
                new = forged._replace(size=size)
                assert not merkle.verify_consistency(heads[old], new, proof)
            assert not merkle.verify_consistency(heads[old], heads[size], [*proof, b"x" * 32])


@given(st.integers(0, 7), st.integers(0, 8), st.lists(st.sampled_from(LEAVES), max_size=5))
def test_only_the_proof_itself_is_taken(index, size, proof):
    holds = merkle.verify_inclusion(LEAVES[index], index, Head(size, TREE.root(size)), proof)
    assert holds == (index < size and proof == TREE.inclusion(index, size))


def test_what_is_not_in_the_tree_has_no_proof():
    for index, size in ((-1, 8), (8, 8), (0, 9), (0, 0)):
        with pytest.raises(ValueError, match="is not within"):
            TREE.inclusion(index, size)
    for old, new in ((-1, 8), (8, 7), (0, 9)):
        with pytest.raises(ValueError, match="is not within"):
            TREE.consistency(old, new)


@given(st.binary(max_size=100))
def test_a_frontier_is_read_back_or_refused(raw):
    try:
        found = merkle.Frontier.unpack(raw)
    except ValueError:
        return
    assert len(found.peaks) == found.size.bit_count()


class Growing(RuleBasedStateMachine):
    """A frontier, a tree and the definition grow together; every earlier head stays provable."""

    def __init__(self):
        super().__init__()
        self.leaves = []
        self.frontier = merkle.Frontier()
        self.heads = [self.frontier.head()]

    @rule(line=st.binary(max_size=8))
    def append(self, line):
        self.leaves.append(merkle.leaf(line))
        self.frontier.append(self.leaves[-1])
        self.heads.append(self.frontier.head())

    @rule()
    def put_away_and_back(self):
        self.frontier = merkle.Frontier.unpack(self.frontier.pack())

    @rule(data=st.data())
    def any_earlier_head_is_a_prefix(self, data):
        old = data.draw(st.sampled_from(self.heads))
        proof = merkle.Tree(self.leaves).consistency(old.size, len(self.leaves))
        assert merkle.verify_consistency(old, self.heads[-1], proof)

    @rule(data=st.data())
    def any_leaf_is_included(self, data):
        if self.leaves:
            index = data.draw(st.integers(0, len(self.leaves) - 1))
            proof = merkle.Tree(self.leaves).inclusion(index, len(self.leaves))
            assert merkle.verify_inclusion(self.leaves[index], index, self.heads[-1], proof)

    @invariant()
    def roots_agree(self):
        assert self.frontier.root() == defined(self.leaves) == merkle.Tree(self.leaves).root()


TestGrowing = Growing.TestCase
TestGrowing.settings = settings(max_examples=30, stateful_step_count=30)


@given(st.lists(st.binary(max_size=12), max_size=70))
def test_an_independent_implementation_has_the_same_root_at_every_size(lines):
    # given the lines of a journal, in a tree of pymerkle's and in ours, both ways of making it
    theirs = pymerkle.InmemoryTree(algorithm="sha256")
    frontier = merkle.Frontier()
    ours = merkle.Tree([merkle.leaf(line) for line in lines])
    for size, line in enumerate(lines, 1):
        theirs.append_entry(line)
        frontier.append(merkle.leaf(line))
        # then each prefix has one root
        assert theirs.get_root(size) == frontier.root() == ours.root(size)
        assert theirs.get_leaf(size) == merkle.leaf(line)
    assert theirs.get_root(0) == merkle.EMPTY


@given(st.lists(st.binary(max_size=12), min_size=1, max_size=40), st.data())
def test_an_independent_verifier_accepts_our_proofs_and_we_its_hashes(lines, data):
    # given a leaf, or two sizes, of a tree
    theirs = pymerkle.InmemoryTree.init_from_entries(lines)
    ours = merkle.Tree([merkle.leaf(line) for line in lines])
    size = len(lines)
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    head = Head(size, ours.root())
    # when they prove it / then the hashes along the way are ours
    path = theirs.prove_inclusion(index + 1, size).path
    assert list(path)[1:] == ours.inclusion(index, size)
    assert merkle.verify_inclusion(path[0], index, head, list(path)[1:])
    proven = theirs.prove_consistency(old, size)
    pymerkle.verify_consistency(ours.root(old), ours.root(), proven)
    proof = ours.consistency(old, size)
    assert merkle.verify_consistency(Head(old, theirs.get_root(old)), head, proof)


@given(st.lists(st.binary(max_size=200), max_size=40))
def test_many_at_once_are_hashed_as_one_by_one(lines):
    found = merkle.leaves(lines)
    assert found == [merkle.leaf(line) for line in lines]
    even = found[: len(found) // 2 * 2]
    pairs = zip(even[::2], even[1::2], strict=True)
    assert merkle.nodes(even) == [merkle.node(left, right) for left, right in pairs]


def test_the_tree_without_leaves_is_known():
    assert (merkle.NONE.size, merkle.NONE.root) == (0, sha256(b"").digest())
    assert merkle.Tree([]).root() == merkle.NONE.root
    assert merkle.verify_consistency(merkle.NONE, merkle.NONE, []) is True
    assert merkle.verify_consistency(merkle.NONE, Head(0, b"x" * 32), []) is False


@pytest.mark.parametrize("old", range(9))
@pytest.mark.parametrize("level", range(4))
def test_growing_by_many_tells_which_nodes_it_completed(old, level):
    for new in range(9 - old):
        frontier = merkle.Frontier()
        frontier.extend(LEAVES[:old])
        below, size = LEAVES[: old + new], old
        for _ in range(level):
            below, size = merkle.nodes(below[: len(below) // 2 * 2]), size // 2
        grown = merkle.Frontier(old, list(frontier.peaks))
        assert grown.extend(LEAVES[old : old + new], level) == below[size:]
        assert grown.root() == TREE.root(old + new)
        if level == 0:
            assert frontier.extend(LEAVES[old : old + new]) == below[size:]


def test_hashes_that_are_no_pairs_have_no_nodes():
    with pytest.raises(ValueError, match="zip"):
        merkle.nodes(LEAVES[:3])


@pytest.mark.parametrize(
    "packed", [b"3:" + b"x" * 32, b"-1:" + b"x" * 32, b"1:", b"0:" + b"x" * 32]
)
def test_a_state_that_no_tree_has_is_refused(packed):
    with pytest.raises(ValueError, match="not the frontier of a tree"):
        merkle.Frontier.unpack(packed)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (lambda: TREE.root(9), "size: 9 is not within 0 and 8"),
        (lambda: TREE.root(-1), "size: -1 is not within 0 and 8"),
        (lambda: TREE.inclusion(0, 9), "size: 9 is not within 0 and 8"),
        (lambda: TREE.inclusion(8, 8), "index: 8 is not within 0 and 7"),
        (lambda: TREE.consistency(1, 9), "new: 9 is not within 0 and 8"),
        (lambda: TREE.consistency(6, 5), "old: 6 is not within 0 and 5"),
    ],
)
def test_what_is_beyond_the_tree_is_told_by_its_name(asked, name):
    with pytest.raises(ValueError, match=f"^{name}$"):
        asked()


def test_no_proof_shows_a_leaf_behind_the_last():
    # One of these would do if the bound were one too high
    assert merkle.verify_inclusion(LEAVES[0], 1, Head(1, LEAVES[0]), []) is False
    assert merkle.verify_inclusion(LEAVES[0], -1, Head(1, LEAVES[0]), []) is False


@pytest.mark.parametrize(
    ("old", "new", "proof"),
    [(5, 3, []), (-1, 3, []), (3, 8, []), (6, 8, [*TREE.consistency(6, 8), LEAVES[0]])],
)
def test_a_history_that_is_shorter_or_shown_by_too_little_or_too_much_is_none(old, new, proof):
    heads = [Head(size, TREE.root(max(size, 0))) for size in (old, new)]
    assert merkle.verify_consistency(*heads, proof) is False
