"""How a study searched, in sentences: its trials and where they came from, its rungs, and how a winner was chosen."""

from study.answer import Results
from study.finalists import by_search, is_over, settings_of
from study.origins import from_starts, origins
from study.wording import count, listing, ordinal, score_words


def search_words(results: Results) -> str:
    """The design of the search, and how many of its trials and winners the space's start points are."""
    header, budget = results.header, results.header.budget
    trials, searches = int(budget.get("trials", 0)), int(budget.get("searches", 1))
    if not trials:
        return "Nothing was searched: every arm is a recipe fixed in the space file."
    objectives = listing(list(dict.fromkeys(score_words(question.objective) for question in header.questions)))
    nested, each = bool(budget.get("nested", True)), searches // max(len(header.splits), 1)
    often = {1: "once"}.get(each, f"{each} times")
    splits = f", {often} on every split," if nested and len(header.splits) > 1 and searches == each * len(header.splits) else ""
    if not nested and len(header.splits) > 1:
        splits = ", on the first split alone,"
    times = f"{f' {searches} times' if searches > 1 else ''}{splits}"
    return (
        f"Multi-task arm and control {'were' if _searched(results) else 'are'} each searched{times} with "
        f"{count(trials, 'trial')}, for dev {objectives}, by the same sampler and pruner, over the same ranges and from "
        f"the same start points; the multi-task arm has its loss weights besides.{_origin_words(results)}{_rung_words(results)}"
        f"{_finalists_words(results)}{_winner_words(results)}"
    )


def _origin_words(results: Results) -> str:
    """Of a search's trials, how many were start points, random draws, and choices of the sampler."""
    found, trials = origins(results.header), int(results.header.budget["trials"])
    if found is None:
        return ""
    starts = f"{found.starts} {'is a start point' if found.starts == 1 else 'are start points'} that the space declares"
    drawn = f"{found.random} {'is' if found.random == 1 else 'are'} drawn at random"
    chosen = f"{found.chosen or 'none'} {'are' if found.chosen > 1 else 'is'} chosen by the sampler"
    if not found.chosen:
        chosen += f", which begins with the {ordinal(found.first_chosen)}"
    parts = [*([starts] if found.starts else []), *([drawn] if found.random else []), chosen]
    return f" Of each search's {count(trials, 'trial')} {listing(parts)}."


def _winner_words(results: Results) -> str:
    """How many winners are start points, where the space declares any."""
    found = origins(results.header)
    winners = [winner for question in results.questions for arm in question.arms for winner in arm.winners]
    if found is None or not found.starts or not winners:
        return ""
    many = from_starts(winners, found.starts)
    return f" {many or 'None'} of the {count(len(winners), 'winner')} {'is a start point' if many == 1 else 'are start points'}."


def _rung_words(results: Results) -> str:
    """What a rung asked of a trial: with few trials that is to be the best so far."""
    budget = results.header.budget
    rungs = [str(rung) for rung in budget.get("rungs", [])]
    if not rungs:
        return ""
    epochs = f"epoch{'s' if len(rungs) > 1 else ''} {listing(rungs)}"
    if int(int(budget["trials"]) * float(budget.get("keep", 0.5))) > 1:
        return f" Weak trials were pruned at {epochs}."
    exempt = " or exempt" if any(r.exempt and r.rerun_of is None for r in results.records if r.identity.phase == "search") else ""
    return f" At {epochs} a trial went on only if it was the best so far{exempt}."


def _finalists_words(results: Results) -> str:
    """How the winners were chosen, where it was not by one run."""
    finalists, reruns = results.header.finalists
    if not finalists:
        return ""
    best, times = (f"best {finalists} settings", "each") if finalists > 1 else ("best setting", "")
    often = " ".join(filter(None, ({1: "once", 2: "twice"}.get(reruns, f"{reruns} times"), times)))
    were, won = (("was", "were")[finalists > 1], "won") if _searched(results) else (("is", "are")[finalists > 1], "wins")
    few = [
        len(settings_of(trials)) < finalists for trials in by_search(results.records).values() if is_over(trials, results.header)
    ]
    fewer = f" In {sum(few)} of {len(few)} searches fewer ran to their end." if any(few) else ""
    return f" The {best} of each search {were} run again {often} on other seeds; the best mean of a setting's runs {won}.{fewer}"


def _searched(results: Results) -> bool:
    """Every trial of every search has ended, and every rerun."""
    searches = 2 * len(results.header.questions) * int(results.header.budget.get("searches", 1))
    ended = [trials for trials in by_search(results.records).values() if is_over(trials, results.header)]
    return len(ended) >= searches
