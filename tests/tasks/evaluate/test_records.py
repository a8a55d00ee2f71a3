"""What identifies the questions of a benchmark."""

from tasks.evaluate.records import _question_hash


def logged(doc, prompt="p", target="t"):
    return {"doc": doc, "doc_hash": "any", "prompt_hash": prompt, "target_hash": target}


def test_the_order_of_a_documents_fields_makes_no_other_question():
    one, other = {"good": "a cat", "bad": None, "n": 1}, {"n": 1, "bad": None, "good": "a cat"}
    assert _question_hash(logged(one)) == _question_hash(logged(other))


def test_another_document_prompt_or_target_is_another_question():
    same = _question_hash(logged({"good": "a"}))
    others = [
        logged({"good": "b"}),
        logged({"good": "a"}, "q"),
        logged({"good": "a"}, "p", "u"),
    ]
    assert same not in [_question_hash(o) for o in others]
