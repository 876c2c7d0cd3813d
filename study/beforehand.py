"""What is told before anything is spent: what will run, how long it will take, and what so small a study can find.

A 95 % interval's half width, and whether there can be a verdict at all, come from simulated studies of about this size
(study.error_rates); the difference that is found four times in five is some 1.4 half widths.
"""

from itertools import combinations
from pathlib import Path

from sermtl.corpus import Corpus
from sermtl.split_lines import split_notes
from study.cluster import Resources
from study.contrast import CHOSEN_ON_SOME
from study.cost import Cost, most_epochs
from study.error_rates import foreseen
from study.header import StudyHeader
from study.simulated import CLIPS
from study.space import Question, Space
from study.verdict import exact_digits, points
from study.wording import count, listing

FOUND = 1.4  # (t(.975) + t(.80)) / t(.975): 1.34 with 4 degrees of freedom, 1.43 with many
OF_90 = 0.84  # the 90 % interval's width by the 95 % interval's: 0.77 with 4 degrees of freedom, 0.84 with many
SHOWN = 3  # splits
FEW = 0.5  # of the clips that a simulated speaker has: with fewer a score is noisier than there


def opening_lines(header: StudyHeader, folder: Path, space: Space, corpus: Corpus, resources: Resources, cost: Cost) -> list[str]:
    """What will run, before anything is spent: corpus, split, model, device, budget, expected time."""
    made = "SYNTHETIC, made by rule: not real speech; " if corpus.synthetic else ""
    where = f"cluster at {resources.address}" if resources.address else f"{cost.slots} trial(s) at once"
    budget = header.budget
    finalists, reruns = header.finalists
    again = f" (the best {finalists} run {count(reruns, 'more time')})" if finalists else ""
    search = f"{len(space.arms)} arms × {count(budget['trials'], 'trial')}{again}" if space.searched else "nothing searched"
    repeats = f" × {budget['searches']} searches" if space.searched and budget["searches"] > 1 else ""
    return [
        f"study   {header.name}: {space.title}",
        f"corpus  {corpus.name}: {made}{len(corpus):,} clips, {header.corpus.speakers} speakers, {corpus.hours:.2f} h",
        *_splits(header),
        f"model   {cost.model}",
        f"device  {header.device}, {where}",
        f"budget  {search}{repeats}; {count(cost.confirm_runs, 'confirm run')} on {count(space.budget.seeds, 'seed')}",
        *_idle_rungs(space),
        *(
            ["note    no sex and no sentence in this corpus, so no placebo within them"]
            if space.placebo and not space.within
            else []
        ),
        *(f"expect  {line}" for line in expectations(space, header)),
        f"time    about {cost.words} expected",
        f"folder  {folder}",
    ]


def _idle_rungs(space: Space) -> list[str]:
    """A line about rungs that no trial goes on from."""
    most = most_epochs(space)
    idle = [str(rung) for rung in space.budget.rungs if rung >= most]
    return [f"note    a trial has at most {count(most, 'epoch')}, so nothing is pruned at {listing(idle)}"] if idle else []


def _parts(parts: dict[str, dict[str, object]]) -> str:
    return ", ".join(f"{part} {len(about['speakers'])} speakers / {about['clips']} clips" for part, about in parts.items())  # type: ignore[arg-type]


def _splits(header: StudyHeader) -> list[str]:
    """A line for each of the first few splits."""
    shown, more = header.splits[:SHOWN], len(header.splits) - SHOWN
    return [
        *(f"split   {split.id}: {_parts(split.parts)}" for split in shown),
        *([f"        and {more} more such"] if more > 0 else []),
        *(f"note    {note}" for split in shown for note in split_notes(header.split, split.parts, header.corpus.clips)),
    ]


def expectations(space: Space, header: StudyHeader) -> list[str]:
    """One line per question: how wide its interval may be, beside the margin, or why there will be no verdict."""
    return [f"{question.name}: {_expected(space, question, header)}" for question in space.questions]


def _expected(space: Space, question: Question, header: StudyHeader) -> str:
    tested = [set(split.parts["test"]["speakers"]) for split in header.splits]
    apart = len(tested) > 1 and all(not a & b for a, b in combinations(tested, 2))
    refused, half_widths = foreseen(
        speakers=len(set().union(*tested)) if apart else min(map(len, tested)),
        seeds=space.budget.seeds,
        searches=space.budget.searches,
        searched=space.searched,
        folds=len(tested) if apart else 0,
        draws=len(tested) if len(tested) > 1 and not apart else 0,
        pairs=question.main == "speaker" and question.objective != "speaker_accuracy",
    )
    if space.searched and not space.nested and len(tested) > 1:
        refused = CHOSEN_ON_SOME
    if refused is not None:
        return f"there can be no verdict: {refused}"
    if not half_widths:
        return "how wide its interval may be was not simulated"
    least, most = min(half_widths), max(half_widths)
    margin = points(question.margin, exact_digits(question.margin))
    each = sum(split.parts["test"]["clips"] for split in header.splits) / max(sum(map(len, tested)), 1)
    wider = f" (with {CLIPS} clips a speaker; with this corpus's {each:.0f} it will be wider)" if each < FEW * CLIPS else ""
    alone = " before p is adjusted over the questions" if len(space.questions) > 1 else ""
    reach = ", so 'no meaningful difference' is out of reach" if OF_90 * least >= question.margin else ""
    return (
        f"a 95 % interval of about ± {_span(least, most)} points{wider}, differences found from about "
        f"{_span(FOUND * least, FOUND * most)} points on{alone}; the margin is {margin}{reach}"
    )


def _span(least: float, most: float) -> str:
    low, high = (f"{100 * share:.0f}" if share >= 0.0995 else points(share) for share in (least, most))
    return low if low == high else f"{low} to {high}"
