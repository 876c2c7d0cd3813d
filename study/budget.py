"""What a study may spend: trials, reruns and searches of every arm, and confirm seeds."""

from dataclasses import dataclass

from study.space_file import SizeTable


@dataclass(frozen=True)
class Budget:
    """trials per arm and search; rungs in epochs; keep: share that passes a rung; exempt: share never pruned.

    finalists  settings of each search that are run again, `reruns` times each (study.finalists)
    """

    trials: int
    seeds: int
    searches: int
    startup: int
    rungs: tuple[int, ...]
    keep: float
    exempt: float
    finalists: int = 0
    reruns: int = 1

    @property
    def runs(self) -> int:
        """Of one search: its trials, and the reruns of its finalists."""
        return self.trials + min(self.finalists, self.trials) * self.reruns


def make_budget(table: SizeTable, searched: bool, draws: int) -> Budget:
    """The budget of a size: no trials where nothing is searched, and as many searches again for each draw that is searched."""
    return Budget(
        trials=table.trials if searched else 0,
        seeds=table.seeds,
        searches=table.searches * draws,
        startup=table.startup,
        rungs=table.rungs,
        keep=table.keep,
        exempt=table.exempt,
        finalists=table.finalists,
        reruns=table.reruns,
    )


def random_first(startup: int, trials: int) -> int:
    """How many of an arm's trials are drawn at random before the sampler learns from them: `startup`, at least a quarter of all.

    A run's dev score is to a good part luck, and a sampler that learns from five stays with the luckiest: with 40 or 60 trials it
    chose worse settings than random search does (docs/search-efficiency.md, docs/log.md). These draws are also the same in every
    arm, knob by knob, so that arms do not differ by what their searches happened to look at.
    """
    return max(startup, trials // 4)
