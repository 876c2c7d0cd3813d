"""Tables of how a study was done: spend, winners' settings, rungs, split, failed trials."""

import numpy as np

from sermtl.config import split_by
from study.answer import QuestionResult, Results
from study.drawing import printable, short
from study.figures_contrast import question_short
from study.report_data import data_name
from study.tables import Kind, Row, Table
from study.wording import arm_words, axis_words, count, duration, knob, number, percent

MOST_COLUMNS = 4  # winners beside each other; more stand one below the other
KINDS: tuple[Kind, Kind] = ("", "rule")  # a further row of a group, and its first
MOST_REASONS = 40  # failed trials listed; the data file has them all


def spend_table(results: Results) -> Table:
    """What each arm has cost, in trials and in device time."""
    rows, again = [], results.header.finalists[0] > 0
    for question in results.questions:
        for place, arm in enumerate(question.arms):
            s = arm.spend
            counts = (s.trials, s.complete, s.pruned, s.failed, *([s.reruns] if again else []))
            searched = [str(n) if s.trials else "–" for n in counts]
            times = [duration(s.search_device_s) if s.trials else "–", duration(s.confirm_device_s)]
            runs = f"{s.confirm_runs}" + (f" ({s.confirm_failed} failed)" if s.confirm_failed else "")
            name = question_short(question) if place == 0 else ""
            rows.append(Row((name, arm_words(arm.arm), *searched, times[0], runs, times[1]), "" if place else "rule"))
    columns = (
        "question",
        "arm",
        "trials",
        "complete",
        "pruned",
        "failed",
        *(["reruns"] if again else []),
        "search, device time",
        "confirm runs",
        "confirm, device time",
    )
    total = sum(arm.spend.search_device_s + arm.spend.confirm_device_s for question in results.questions for arm in question.arms)
    notes = (f"Together {duration(total)} of device time.", *([results.forecast] if results.forecast else []))
    return Table("Spend of each arm", columns, "tw" + "n" * (len(columns) - 2), tuple(rows), notes, "spend.csv")


def winners_table(question: QuestionResult) -> Table | None:
    """The searched settings each arm was confirmed with."""
    winners = [(arm, winner) for arm in question.arms for winner in arm.winners]
    if not winners:
        return None
    several = max(winner.search for _, winner in winners) > 0
    names = sorted(
        {name for _, winner in winners for name in winner.params}, key=lambda name: (not is_weight(name, question), name)
    )
    title, value = f"{question_short(question)}: the winners' settings", f"dev {axis_words(question.header.objective)}, %"
    notes: tuple[str, ...] = (
        "Each winner is also in winners/ as a TOML that python -m sermtl train runs. Its dev value chose it and is not a result.",
    )
    if any(winner.runs > 1 for _, winner in winners):
        notes += ("A setting that was run again has the mean of its runs; trial: its first run.",)
    if len(winners) > MOST_COLUMNS:
        return _winner_rows(question, names, title, value, notes)
    heads = [arm_words(arm.arm) + (f", search {winner.search + 1}" if several else "") for arm, winner in winners]
    rows = [Row((name, *(knob(winner.params[name]) if name in winner.params else "–" for _, winner in winners))) for name in names]
    rows.append(Row(("trial", *(str(winner.number) for _, winner in winners)), "rule"))
    rows.append(Row((value, *(percent(winner.value) for _, winner in winners)), "quiet"))
    return Table(title, ("knob", *heads), "t" + "n" * len(heads), tuple(rows), notes)


def is_weight(name: str, question: QuestionResult) -> bool:
    """Whether a parameter is an auxiliary task's loss weight: what tells the arms apart stands first."""
    return name.removeprefix("weight_") in question.header.auxiliary


def _winner_rows(question: QuestionResult, names: list[str], title: str, value: str, notes: tuple[str, ...]) -> Table:
    """The winners of many searches: one below the other."""
    rows = []
    for arm in question.arms:
        for place, winner in enumerate(arm.winners):
            settings = [knob(winner.params[name]) if name in winner.params else "–" for name in names]
            who = ("" if place else arm_words(arm.arm), str(winner.search + 1), str(winner.number), percent(winner.value))
            rows.append(Row((*who, *settings), "" if place else "rule"))
    columns = ("arm", "search", "trial", value, *names)  # a narrow screen shows the first columns
    return Table(title, columns, "w" + "n" * (len(columns) - 1), tuple(rows), notes)


def finalists_table(question: QuestionResult) -> Table | None:
    """The settings that were run again before a search chose: what the first run promised, and what the others held."""
    arms = [arm for arm in question.arms if arm.finalists]
    several = any(finalist.search for arm in arms for finalist in arm.finalists)
    rows = []
    for arm in arms:
        for place, finalist in enumerate(arm.finalists):
            who = ("" if place else arm_words(arm.arm), *([str(finalist.search + 1)] if several else []))
            first, *others = finalist.values
            again, mean = ", ".join(percent(value) for value in others) or "failed", percent(float(np.mean(finalist.values)))
            cells = (*who, ("✓ " if finalist.chosen else "") + str(finalist.number), percent(first), again, mean)
            rows.append(Row(cells, "" if place else "rule"))
    columns = ("arm", *(["search"] if several else []), "trial", "first run", "run again", "mean")
    notes = (
        "✓ chosen. Of many first runs the best are also the luckiest, so reruns mostly fall behind them: by how much tells what "
        "one run's dev value is worth.",
    )
    title = f"{question_short(question)}: the finalists' dev {axis_words(question.header.objective)}, %"
    return Table(title, columns, "w" + "n" * (len(columns) - 1), tuple(rows), notes) if rows else None


def rungs_table(question: QuestionResult) -> Table | None:
    rows = [
        Row((arm_words(r.arm), str(r.epoch), str(r.trials), str(r.exempt), str(r.ranked), number(r.rank_correlation, 2)))
        for r in question.rungs
    ]
    title = f"{question_short(question)}: how well a rung's rank foretold the final one"
    notes: tuple[str, ...] = (
        "Over complete trials. Exempt ones could not be pruned; the others passed every rung, so they are the better ones.",
    )
    if any(len(arm.winners) > 1 for arm in question.arms):
        notes += ("Spearman within each search of three such trials or more, mean over these searches.",)
    return (
        Table(
            title,
            ("arm", "rung, epoch", "complete trials", "exempt of them", "in Spearman", "Spearman"),
            "wnnnnn",
            tuple(rows),
            notes,
        )
        if rows
        else None
    )


def split_tables(results: Results) -> tuple[Table, Table]:
    """How large each split's parts are, and, folded, which speakers are in them."""
    sizes, named = [], []
    for split in results.header.splits:
        parts = [part for part in ("train", "dev", "test") if part in split.parts]
        for place, part in enumerate(parts):
            speakers, clips = split.parts[part].get("speakers", []), split.parts[part].get("clips", 0)
            head, kind = (printable(split.id) if place == 0 else "", part), KINDS[place == 0]
            sizes.append(Row((*head, f"{clips:,}", str(len(speakers))), kind))
            groups = ", ".join(map(str, split.parts[part].get("groups", [])))
            who = f"{split_by(results.header.split)[1]} {groups}: " if groups else ""
            named.append(Row((*head, short(who + ", ".join(map(str, speakers)), 160)), kind))
    people = Table("Who is in which part", ("split", "part", "speakers"), "wtw", tuple(named), folded=True)
    return Table("Split", ("split", "part", "clips", "speakers"), "wtnn", tuple(sizes)), people


def failed_table(results: Results) -> Table | None:
    """Trials that failed, each with its reason."""
    failed = [record for record in results.records if record.state == "FAILED"]
    rows = [
        Row(
            (
                f"{r.identity.arm}",
                f"{r.identity.phase} {r.identity.number}",
                str(len(r.epochs)),
                short(r.reason or "no reason recorded", 160),
            )
        )
        for r in failed[:MOST_REASONS]
    ]
    left = len(failed) - len(rows)
    notes = (f"{count(left, 'further failed trial')} in the data files.",) if left > 0 else ()
    searched = [record for record in results.records if record.identity.phase == "search"]
    data = data_name("trials", len(searched)) if searched else ""
    return (
        Table(f"Failed trials: {len(failed)}", ("arm", "trial", "epochs", "reason"), "ttnw", tuple(rows), notes, data)
        if rows
        else None
    )
