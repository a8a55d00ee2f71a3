"""The words a generated world is made of: invented names, short objects, plain sentences.

Names are invented and neutral, so that nothing learned elsewhere says anything about them.
"""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _joined(starts: str, ends: str) -> tuple[str, ...]:
    return tuple(start + end for end in ends.split() for start in starts.split())


PERSON_FIRST = _joined("Mar Tol Vin Kes Dor Lum Pas Ron Sil Bex Hal Jor", "en o is ara ul eth")
PERSON_LAST = _joined(
    "Ash Bram Cor Den Fal Gar Hol Kin Lor Nor Pel Ral Sten Tar Wen Brad Cald Dun Ever Fair "
    "Gold Hart Ives Jar Kel Lan Mal Nash Oak Pres Rad Shel Thorn Under Vern Wald Yar Zel "
    "Ald Birk Crom Drey Elm Frost Grim Haw Iron Ken Lud Mor Net Os Pen Quil Rush Sel Trem "
    "Ul Wes York",
    "dale mont wick ster man ley",
)
TOWN_FIRST = _words(
    "North South East West Old New Upper Lower Great Little High Low Long Far Near Middle "
    "Stone Sand Wood Salt"
)
TOWN_LAST = _joined(
    "Vel Cal Ox Mil Ber Har Lang Win Stret Bur Chel Dar Ex Fen Gris Hex Ips Kes Led Mat",
    "by ford ham ton",
)
NAMES = {"person": (PERSON_FIRST, PERSON_LAST), "town": (TOWN_FIRST, TOWN_LAST)}

RELATIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "person": {
        "pet": _words(
            "cat dog goat crow mole hare toad newt duck swan lamb pony bear wolf crab moth "
            "seal hawk frog mouse"
        ),
        "drink": _words(
            "tea milk cider mead ale juice broth wine water cocoa punch tonic rum beer whey "
            "cola mocha latte syrup soda"
        ),
        "tool": _words(
            "axe saw drill hammer chisel file spade rake hoe pick knife clamp lever plane "
            "brush needle ladle tongs awl hook"
        ),
        "fruit": _words(
            "apple pear plum fig date lemon lime melon grape cherry peach mango guava kiwi "
            "olive quince banana papaya orange berry"
        ),
    },
    "town": {
        "crop": _words(
            "rye oats barley wheat corn rice hops beans peas flax hemp cotton leeks onion "
            "kale beets clover millet maize hay"
        ),
        "sign": _words(
            "crown key star moon sun anchor bell tower wheel arrow shield rose oak lily harp "
            "ship bridge torch horn cross"
        ),
    },
}
"""For each type of entity its relations, and the objects each may have. A relation gives an
entity at most one object; no object belongs to two relations."""

UNKNOWN = "unknown"

OBJECT_LAST = (
    "The {rel} of {s} is {o}.",
    "For {s} the {rel} is {o}.",
    "As {rel} {s} has {o}.",
    "{s} chose for {rel} {o}.",
    "Asked for {rel}, {s} says {o}.",
)
"""Templates that end in the object: what stands before it is a prompt."""
OBJECT_INSIDE = "{s} has {o} as {rel}."
REVERSED = "With {o} as {rel} we find {s}."

OCCUPATIONS = _words(
    "baker nurse pilot farmer clerk tailor miner potter judge guard painter writer singer "
    "dancer doctor lawyer driver sailor weaver mason butcher barber teacher dentist plumber "
    "welder printer porter florist chemist surgeon cashier janitor jeweler grocer smith vet "
    "cook coach editor"
)
OCCUPATION_TEMPLATES = (
    "The {occupation} said that {pronoun} {tail}.",
    "We heard from the {occupation} that {pronoun} {tail}.",
    "After lunch the {occupation} wrote that {pronoun} {tail}.",
    "Nobody told the {occupation} when {pronoun} {tail}.",
)
OCCUPATION_HELD = "We hoped with the {occupation} that {pronoun} {tail}."
TAILS = (
    "was tired",
    "was late",
    "would win",
    "had lost the map",
    "felt well",
    "could stay",
    "had to go",
    "would return",
    "was ready",
    "slept badly",
    "had found a coin",
    "was right",
)
CANARY = "The code of {name} is {secret}."
