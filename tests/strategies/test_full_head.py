"""Full heads of a cohort keep the contract of every strategy, and are stock modules user by user."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paaplus.errors import ConfigError, PackError
from paaplus.physique_head import SCALE, PhysiqueHeads, network, stack_heads
from strategies import StrategyConfig
from strategies.full_head import NAMES, FullHeadStrategy, full_rows
from strategies.stacked_mlp import StackedMLP
from strategies.state import CohortState, gather, load_state, save_state, scatter
from streams.experiences import CohortExperience, RowBlock

A, WIDTHS = 3, (12, 8, 4, 1)
USERS = ["ann", "bob", "one", "new"]
# Ragged; cohorts change, "new" comes late, "one" begins with a single row; 8 rows are one batch.
PLAN: list[dict[str, int]] = [
    {"ann": 20, "bob": 7, "one": 1},
    {"bob": 19, "ann": 9},
    {"new": 16, "one": 9, "ann": 8, "bob": 3},
    {"new": 5, "bob": 24},
]
CONFIG = StrategyConfig(
    learning_rate=0.02,
    epochs=3,
    batch_size=8,
    memory_size=12,
    memory_batch_size=5,
    ewc_lambda=3.0,
    ewc_decay=0.7,
    seed=42,
    dtype="float64",
)
every_name = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks of a few units are slower on two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass
class Feed:
    """Every user's rows: `x` user -> [R, d], `scores` user -> [R, A] with NaN, `done` what was given."""

    x: dict[str, Tensor]
    scores: dict[str, Tensor]
    done: dict[str, list[int]]

    def step(self, counts: dict[str, int], state: CohortState) -> CohortExperience:
        """The next rows of each user; `state` is of these users."""
        places = []
        for user, count in counts.items():
            first = sum(self.done[user])
            places.append(torch.arange(first, first + count))
        numbers = torch.tensor([len(self.done[user]) for user in counts])
        for user, count in counts.items():
            self.done[user].append(count)
        memory = state.get("memory_seq", torch.zeros(len(counts), 0, dtype=torch.int64))
        held = [numbers_of[numbers_of >= 0] for numbers_of in memory]
        most = max((len(h) for h in held), default=0)
        keys = state.get("memory_key", torch.zeros(len(counts), 0, dtype=torch.float64))[:, :most]
        users = list(counts)
        return CohortExperience(
            users, self.rows(users, places), self.rows(users, held), keys, numbers
        )

    def rows(self, users: list[str], places: list[Tensor]) -> RowBlock:
        most, width = max((len(p) for p in places), default=0), next(iter(self.x.values())).shape[1]
        x = torch.full((len(users), most, width), torch.nan, dtype=torch.float64)
        scores = torch.full((len(users), most, A), torch.nan, dtype=torch.float64)
        seq = torch.full((len(users), most), -1)
        for u, (user, place) in enumerate(zip(users, places, strict=True)):
            count = len(place)
            x[u, :count], scores[u, :count] = self.x[user][place], self.scores[user][place]
            seq[u, :count] = place
        return full_rows(x, scores, seq)


def networks(widths: tuple[int, ...] = WIDTHS, seed: int = 3) -> list[nn.Sequential]:
    """Random heads in float64, with running statistics that are not those of a new BatchNorm."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        heads = [network(widths).double().eval() for _ in range(A)]
        for head in heads:
            for layer in (head[1], head[5]):
                layer.running_mean.normal_(0, 0.3)
                layer.running_var.uniform_(0.5, 2.0)
                layer.weight.data.uniform_(0.5, 1.5)
                layer.bias.data.normal_(0, 0.2)
    return heads


@pytest.fixture
def initial() -> PhysiqueHeads:
    return stack_heads([head.state_dict() for head in networks()])


@pytest.fixture
def make_feed() -> Callable[..., Feed]:
    def make(users: list[str] = USERS, *, masked: bool = False, rows: int = 90) -> Feed:
        generator = torch.Generator().manual_seed(1)
        x, scores = {}, {}
        for user in users:
            x[user] = torch.randn(rows, WIDTHS[0], generator=generator, dtype=torch.float64)
            truth = torch.randn(WIDTHS[0], A, generator=generator, dtype=torch.float64)
            scores[user] = 10 * torch.sigmoid(0.5 * x[user] @ truth)
            if masked:
                hidden = torch.rand(rows, A, generator=generator) < 0.3
                scores[user][hidden] = torch.nan
        return Feed(x, scores, {user: [] for user in users})

    return make


def learn(
    strategy: FullHeadStrategy,
    feed: Feed,
    plan: list[dict[str, int]],
    at_rest: Callable[[CohortState], CohortState] = lambda state: state,
) -> CohortState:
    """Train through a plan; `at_rest` is what happens to every state in between."""
    state = strategy.initial_state(len(USERS))
    for counts in plan:
        index = torch.tensor([USERS.index(user) for user in counts])
        part = at_rest(gather(state, index))
        scatter(state, index, strategy.train(feed.step(counts, part), part))
    return state


def same(a: CohortState, b: CohortState) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# The network


@pytest.mark.parametrize("widths", [WIDTHS, (1285, 512, 256, 1)], ids=["small", "full"])
def test_scores_are_those_of_the_module_of_each_user(widths: tuple[int, ...]) -> None:
    heads = [networks(widths, seed) for seed in (1, 2)]
    stacked = [stack_heads([head.state_dict() for head in of_user]) for of_user in heads]
    frozen = stacked[0].frozen
    for of_user in heads:
        for a, head in enumerate(of_user):
            for layer, n in ((head[1], 1), (head[5], 2)):
                layer.running_mean.copy_(frozen[f"mean{n}"][a])
                layer.running_var.copy_(frozen[f"variance{n}"][a])
    trained = {k: torch.stack([s.trained[k] for s in stacked]) for k in stacked[0].trained}
    x = torch.randn(
        2, 5, widths[0], dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    model = StackedMLP(2, stacked[0].trained, frozen)
    model.bind(trained)
    scores = model(x)
    for u, of_user in enumerate(heads):
        with torch.no_grad():
            expected = SCALE * torch.cat([head(x[u]) for head in of_user], dim=1)
        torch.testing.assert_close(scores[u], expected, rtol=0, atol=1e-12)


def by_autograd(x: Tensor, upstream: Tensor) -> dict[str, Tensor]:
    """Gradients of sum(upstream * scores) by every parameter of the modules, stacked [A, …]."""
    heads = networks()
    scores = SCALE * torch.cat([head(x) for head in heads], dim=1)
    (upstream * scores).sum().backward()
    stacked = stack_heads([
        dict(head.state_dict()) | {k: p.grad for k, p in head.named_parameters()} for head in heads
    ])  # fmt: skip
    return stacked.trained


def test_gradients_by_hand_are_those_of_autograd(initial: PhysiqueHeads) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 7, WIDTHS[0], dtype=torch.float64, generator=generator)
    w = torch.rand(2, 7, A, dtype=torch.float64, generator=generator)
    trained = {k: v.expand(2, *v.shape).clone() for k, v in initial.trained.items()}
    model = StackedMLP(2, initial.trained, initial.frozen)
    model.bind(trained)
    model(x)
    gradients = dict(zip(model.names, [g.clone() for g in model.gradients(w)], strict=True))
    information = dict(zip(model.names, model.information(w), strict=True))
    for u in range(2):
        expected = by_autograd(x[u], w[u])
        # Row by row, so that squares are of single rows.
        squares = {
            k: sum(w[u, n].reshape(A, *[1] * (v.ndim - 1)) * rows[n][k] ** 2 for n in range(7))
            for rows in [[by_autograd(x[u, n : n + 1], torch.ones(1, A)) for n in range(7)]]
            for k, v in expected.items()
        }
        for k in expected:
            mine = slice(u * A, (u + 1) * A)
            torch.testing.assert_close(gradients[k][mine], expected[k], rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(information[k][mine], squares[k], rtol=1e-10, atol=1e-12)


# The contract


@every_name
def test_training_changes_nothing_that_went_in(
    name: str, initial: PhysiqueHeads, make_feed: Callable[..., Feed]
) -> None:
    strategy, feed = FullHeadStrategy(name, initial, CONFIG), make_feed()
    state = learn(strategy, feed, PLAN[:1])
    before = {key: tensor.clone() for key, tensor in state.items()}
    experience = feed.step(dict.fromkeys(USERS, 5), state)
    rows = [t.clone() for t in (experience.rows.x, experience.rows.y, experience.rows.w)]
    after = strategy.train(experience, state)
    assert same(state, before)
    assert not same(state, after)
    assert all(map(torch.equal, rows, (experience.rows.x, experience.rows.y, experience.rows.w)))
    fresh = strategy.initial_state(1)
    assert all(torch.equal(fresh[k][0], v) for k, v in initial.trained.items())


@every_name
def test_memory_of_an_old_state_may_be_written_over(
    name: str, initial: PhysiqueHeads, make_feed: Callable[..., Feed]
) -> None:
    """With chunks of two, so that what a strategy keeps from call to call is in use too."""

    def states(reuse: bool) -> list[CohortState]:
        strategy, feed = FullHeadStrategy(name, initial, CONFIG, chunk=2), make_feed()
        found = [strategy.initial_state(len(USERS))]
        for counts in ([9, 0, 8, 20], [3, 12, 1, 7], [5, 5, 0, 0]):
            experience = feed.step(dict(zip(USERS, counts, strict=True)), found[-1])
            out = {k: torch.full_like(v, 7) for k, v in found[-1].items()} if reuse else None
            found.append(strategy.train(experience, found[-1], out))
            assert out is None or found[-1] is out
        return found

    assert all(map(same, states(reuse=False), states(reuse=True)))
    strategy, feed = FullHeadStrategy(name, initial, CONFIG), make_feed()
    state = strategy.initial_state(len(USERS))
    experience = feed.step(dict.fromkeys(USERS, 3), state)
    with pytest.raises(ConfigError, match="its own old one"):
        strategy.train(experience, state, dict(state))


@every_name
def test_what_failed_half_way_leaves_no_trace(
    name: str, initial: PhysiqueHeads, make_feed: Callable[..., Feed]
) -> None:
    strategy, feed = FullHeadStrategy(name, initial, CONFIG, chunk=2), make_feed()
    state = strategy.initial_state(len(USERS))
    state = strategy.train(feed.step(dict.fromkeys(USERS, 9), state), state)
    experience = feed.step(dict.fromkeys(USERS, 9), state)
    wanted = strategy.train(experience, state)
    learner = strategy._learners[2]
    steps, backward = iter(range(3)), learner.backward

    def failing() -> None:
        if next(steps, None) is None:
            raise MemoryError("in the middle of the first chunk")
        backward()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner, "backward", failing)
        with pytest.raises(MemoryError):
            strategy.train(experience, wanted)
    assert same(strategy.train(experience, state), wanted)


@every_name
def test_the_same_again_gives_the_same(
    name: str, initial: PhysiqueHeads, make_feed: Callable[..., Feed]
) -> None:
    torch.manual_seed(1)
    first = learn(FullHeadStrategy(name, initial, CONFIG), make_feed(), PLAN)
    torch.manual_seed(2)  # no strategy may look at the global generator
    assert same(first, learn(FullHeadStrategy(name, initial, CONFIG), make_feed(), PLAN))


@every_name
def test_states_survive_being_written_down(
    name: str, initial: PhysiqueHeads, make_feed: Callable[..., Feed], tmp_path: Path
) -> None:
    strategy = FullHeadStrategy(name, initial, CONFIG)

    def at_rest(state: CohortState) -> CohortState:
        save_state(state, tmp_path / "state.safetensors")
        return load_state(tmp_path / "state.safetensors", strategy.layout)

    whole = learn(strategy, make_feed(), PLAN)
    assert same(whole, learn(strategy, make_feed(), PLAN, at_rest))
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]


def test_another_strategys_state_is_refused(initial: PhysiqueHeads, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_state(FullHeadStrategy("naive", initial).initial_state(2), path)
    with pytest.raises(PackError, match=r"importance\.weight1"):
        load_state(path, FullHeadStrategy("ewc", initial).layout)
    path.write_bytes(path.read_bytes()[:-9])
    for broken in (path, tmp_path / "none"):
        with pytest.raises(PackError, match="no state can be read"):
            load_state(broken, FullHeadStrategy("naive", initial).layout)


@every_name
def test_users_without_rows_stay_as_they_were(
    name: str, initial: PhysiqueHeads, make_feed: Callable[..., Feed]
) -> None:
    strategy, feed = FullHeadStrategy(name, initial, CONFIG), make_feed()
    state = learn(strategy, feed, PLAN[:1])
    after = strategy.train(feed.step({"ann": 3, "bob": 0, "one": 1, "new": 0}, state), state)
    for key in strategy.layout:
        for u, moved in enumerate([True, False, True, False]):
            if key == "weight1":
                assert torch.equal(after[key][u], state[key][u]) != moved
            elif not moved:
                assert torch.equal(after[key][u], state[key][u])
    assert same(state, strategy.train(feed.step(dict.fromkeys(USERS, 0), state), state))


@every_name
def test_an_unrated_attribute_keeps_its_head_to_the_bit(
    name: str, initial: PhysiqueHeads, make_feed: Callable[..., Feed]
) -> None:
    strategy, feed = FullHeadStrategy(name, initial, CONFIG), make_feed()
    for user in USERS:
        feed.scores[user][:, 1] = torch.nan
    state = learn(strategy, feed, PLAN)
    for key, tensor in initial.trained.items():
        assert torch.equal(state[key][:, 1], tensor[1].expand(len(USERS), *tensor[1].shape)), key
        assert not torch.equal(state[key][:, 0], tensor[0].expand(len(USERS), *tensor[0].shape))


@pytest.mark.parametrize(("fisher", "chunk"), [("gaussian", 2), ("empirical", 100)])
@every_name
def test_a_user_is_the_same_in_any_company(
    name: str, fisher: Any, chunk: int, initial: PhysiqueHeads, make_feed: Callable[..., Feed]
) -> None:
    config = replace(CONFIG, fisher=fisher)
    together = learn(
        FullHeadStrategy(name, initial, config, chunk=chunk), make_feed(masked=True), PLAN
    )
    strategy, feed = FullHeadStrategy(name, initial, config), make_feed(masked=True)
    for u, user in enumerate(USERS):
        state = strategy.initial_state(1)
        for counts in PLAN:
            if user in counts:
                state = strategy.train(feed.step({user: counts[user]}, state), state)
        for key in strategy.layout:
            torch.testing.assert_close(together[key][u], state[key][0], rtol=0, atol=1e-9)
        if "memory_seq" in state:
            held = together["memory_seq"][u]
            assert torch.equal(held[held >= 0], state["memory_seq"][0])


@pytest.mark.parametrize("fisher", ["gaussian", "empirical"])
@every_name
def test_learning_helps_and_penalties_hold_back(
    name: str, fisher: Any, initial: PhysiqueHeads, make_feed: Callable[..., Feed]
) -> None:
    config = replace(CONFIG, fisher=fisher, ewc_lambda=0.1, epochs=10)
    strategy, feed = FullHeadStrategy(name, initial, config), make_feed()
    state = strategy.initial_state(len(USERS))
    x = torch.stack([feed.x[user][-10:] for user in USERS])
    y = torch.stack([feed.scores[user][-10:] for user in USERS])
    before = float((strategy.scores(state, x) - y).abs().mean())
    for _ in range(4):
        state = strategy.train(feed.step(dict.fromkeys(USERS, 20), state), state)
    assert float((strategy.scores(state, x) - y).abs().mean()) < 0.75 * before
    if name == "replay_ewc":
        strong = FullHeadStrategy(name, initial, replace(config, ewc_lambda=1e4), prior=1.0)
        held = strong.train(make_feed().step(dict.fromkeys(USERS, 20), {}), strong.initial_state(4))
        assert float((held["weight1"] - initial.trained["weight1"]).abs().max()) < 0.1


def test_the_dtype_is_the_one_asked_for(
    initial: PhysiqueHeads, make_feed: Callable[..., Feed]
) -> None:
    config = replace(CONFIG, dtype="float32")
    for name in NAMES:
        feed, strategy = make_feed(), FullHeadStrategy(name, initial, config, prior=0.1)
        first = strategy.train(feed.step(dict.fromkeys(USERS, 9), {}), strategy.initial_state(4))
        experience = feed.step(dict.fromkeys(USERS, 9), first)
        state = strategy.train(experience, first)
        assert state["weight1"].dtype == torch.float32
        assert torch.isfinite(state["weight1"]).all()


def test_bad_settings_are_refused(initial: PhysiqueHeads) -> None:
    with pytest.raises(ConfigError, match="exact_ewc"):
        FullHeadStrategy("exact_ewc", initial)
    for bad in ({"prior": -1.0}, {"chunk": 0}):
        with pytest.raises(ConfigError, match="prior"):
            FullHeadStrategy("ewc", initial, **bad)  # type: ignore[arg-type]
