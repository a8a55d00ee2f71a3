"""Small sets of rows in each audit's data format, with enough of everything."""

import pytest

TOWNS = ("Ara", "Bor", "Cim", "Dun")


def fact_rows(known=40, unknown=40):
    """Half of the entities calibrate, half test; K facts have copies 1, 4, 20 or 70."""
    rows = []
    for stratum, count in (("K", known), ("U_ent", unknown), ("U_rel", 8), ("U_none", 8)):
        for at in range(count):
            for form in ("seen", "held", *(("reversed",) if stratum == "K" else ())):
                rows.append(
                    {
                        "id": f"{stratum}/{at:03d}/{form}",
                        "fact": f"{stratum}/{at:03d}",
                        "stratum": stratum,
                        "form": form,
                        "type": "person",
                        "relation": "home",
                        "subject": f"{stratum}{at}",
                        "object": TOWNS[at // 2 % 4] if stratum == "K" else "",
                        "prompt": f"{form}: {stratum}{at} lives in",
                        "candidates": list(TOWNS),
                        "abstain": "unknown",
                        "copies": (1, 4, 20, 70)[at // 8 % 4] if stratum == "K" else 0,
                        "renderings": [],
                        "entity": f"{stratum}/{at:03d}",
                        "split": ("calibration", "test")[at % 2],
                    }
                )
    return rows


def association_rows(occupations=12):
    return [
        {
            "id": f"o{at}/{form}",
            "occupation": f"o{at}",
            "prompt": f"The o{at} said that ({form})",
            "female": " she",
            "male": " he",
            "template": form,
            "form": form,
            "corpus_female": (0.9, 0.5, 0.2, 0.55)[at % 4],
            "corpus_n": 40,
            "planted": (0.9, 0.5, 0.2, 0.55)[at % 4],
        }
        for at in range(occupations)
        for form in ("seen", "held")
    ]


def canary_rows(each=4, twins=80):
    made = [(n, at) for n in (1, 4, 32) for at in range(each)]
    made += [(0, at) for at in range(twins)]
    return [
        {
            "id": f"c{copies}-{at}",
            "copies": copies,
            "prompt": f"The code of c{copies}-{at} is",
            "secret": f"{(at * 7919 + copies * 104729) % 1000000:06d}",
            "inserted": copies > 0,
            "text": "",
        }
        for copies, at in made
    ]


def pair_rows(count=12):
    return [
        {
            "": str(at),
            "sent_more": f"They are {'very ' * (at % 3)}bad number {at}.",
            "sent_less": f"We are {'very ' * (at % 2)}bad number {at}.",
            "stereo_antistereo": ("stereo", "antistereo")[at % 2],
            "bias_type": ("gender", "race-color")[at % 2],
            "anon_writer": f"a{at % 5}",
        }
        for at in range(count)
    ]


def answer_rows(count=24):
    return [
        {
            "id": f"q{at}",
            "knowledge": f"Ulm has {at} bridges.",
            "question": f"How many bridges has Ulm ({at})?",
            "right_answer": f"{at} bridges{' of stone' * (at % 3)}",
            "hallucinated_answer": f"{at + 1} bridges{' of wood' * (at % 2)}",
        }
        for at in range(count)
    ]


def bbq_rows(count=24):
    people = {"Age": ("old", "nonOld"), "Religion": ("Muslim", "Christian")}
    return [
        {
            "example_id": at,
            "question_index": str(at % 6),
            "question_polarity": ("neg", "nonneg")[at % 2],
            "context_condition": ("ambig", "disambig")[at // 2 % 2],
            "category": category,
            "answer_info": {
                f"ans{i}": [tag, tag] for i, tag in enumerate((*people[category], "unknown"))
            },
            "additional_metadata": {"stereotyped_groups": [people[category][0]]},
            "context": f"Two people met {at} times.",
            "question": "Who was late?",
            "ans0": "The one",
            "ans1": "The other",
            "ans2": "Not known",
            "label": 2 if at // 2 % 2 == 0 else at % 2,
        }
        for category in people
        for at in range(count)
    ]


def prompt_rows(templates=12):
    return [
        {
            "id": f"t{at}/{group}",
            "template": f"t{at}",
            "group": group,
            "prompt": f"The {word} of number {at} was",
        }
        for at in range(templates)
        for group, word in (("female", "woman"), ("male", "man"))
    ]


def triplet_rows(count=24):
    return [
        {
            "id": f"s{at}",
            "split": ("intrasentence", "intersentence")[at // 4 % 2],
            "bias_type": ("gender", "profession", "race", "religion")[at % 4],
            "target": f"target{at // 3}",
            "context": "He is from there.",
            "sentences": [
                {"gold_label": label, "sentence": f"He is {label} number {at}."}
                for label in ("unrelated", "stereotype", "anti-stereotype")
            ],
        }
        for at in range(count)
    ]


def swap_rows(names=12):
    targets = {"female": [" nurse", " maid"], "male": [" soldier"]}
    kinds = [("name", at) for at in range(names)] + [("pronoun", at) for at in range(names)]
    return [
        {
            "id": f"{swapped}{at:02d}/{group}",
            "swapped": swapped,
            "template": f"{swapped}{at if swapped == 'pronoun' else 0}",
            "group": group,
            "name": f"{group}{at}",
            "prompt": f"Here {group}{at} worked as a",
            "targets": targets,
        }
        for swapped, at in kinds
        for group in ("female", "male")
    ]


def joined(**lines):
    return [
        {"id": f"{role}/line{at}", "role": role, "line": line}
        for role, held in lines.items()
        for at, line in enumerate(held, 1)
    ]


def winobias_rows(count=12):
    male, female = ("cook", "CEO", "guard"), ("nurse", "clerk", "baker")

    def lines(words, kind):
        for at in range(count):
            he, she = male[at % 3], female[at // 3 % 3]
            one, other = (he, she) if at % 2 else (she, he)
            told = f"[The {one}] met the {other} because [{words[at % 2]}] was {kind} {at}."
            yield f"{at + 1} {told}"

    pro, anti = ("she", "he"), ("he", "she")
    return joined(
        pro1=lines(pro, "a"), anti1=lines(anti, "a"), pro2=lines(pro, "b"),
        anti2=lines(anti, "b"), female=female, male=male,
    )  # fmt: skip


def winogender_rows(count=8):
    said = {"female": "she", "male": "he", "neutral": "they"}
    rows = [
        {
            "id": f"sentences/{at}{answer}{gender}",
            "role": "sentences",
            "sentid": f"job{at}.guest.{answer}.{gender}.txt",
            "sentence": f"The job{at} told the guest that {word} could {'pay stay'[answer:]}.",
        }
        for at in range(count)
        for answer in (0, 1)
        for gender, word in said.items()
    ]
    jobs = [(f"job{at}", str((at * 37 + 5) % 100)) for at in range(count)]
    return rows + [
        {"id": f"occupations/{o}", "role": "occupations", "occupation": o, "bls_pct_female": p}
        for o, p in jobs
    ]


ROWS = {
    "name_swaps": swap_rows,
    "stereoset": triplet_rows,
    "prompts": prompt_rows,
    "counterfactual": prompt_rows,
    "winobias": winobias_rows,
    "winogender": winogender_rows,
    "bbq": bbq_rows,
    "halueval_qa": answer_rows,
    "facts": fact_rows,
    "association": association_rows,
    "canaries": canary_rows,
    "crows_pairs": pair_rows,
}


@pytest.fixture
def facts():
    return fact_rows()


@pytest.fixture
def rows_of():
    return lambda source: ROWS[source]()
