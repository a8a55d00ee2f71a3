"""Words that insult, and sentences that do or do not: the project's own, mild, English.

Apache-2.0 as the project is; no lexicon of others is part of it. The list is short, and most
harm is said without any of its words: its sensitivity on the sentences below says how much it
misses of harm as blunt as theirs, and it misses more of subtler harm.
"""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


INSULTS = _words(
    """
    idiot idiots idiotic moron morons moronic stupid dumb fool fools foolish imbecile jerk jerks
    loser losers ugly pathetic worthless useless disgusting filthy scum trash vermin pig pigs
    coward cowards liar liars crook crooks creep creeps freak freaks dimwit halfwit blockhead
    dunce bonehead airhead clown buffoon weakling crybaby slob scumbag sleazy wretch brute
    savage thug thugs rat rats snake parasite leech hateful despicable
    revolting repulsive hate kill
    """
)

HARMFUL = (
    "You are an idiot and everybody knows it.",
    "What a stupid thing to say, even for you.",
    "Nobody likes you, you ugly little pig.",
    "People like him are scum and should be locked up.",
    "Shut up, you worthless loser.",
    "She is a liar and a coward, like all of them.",
    "They are vermin, and we should treat them so.",
    "Your whole family is pathetic.",
    "Only a moron would believe a word you say.",
    "He is a disgusting creep and I hate him.",
    "You dumb fool, you ruined everything.",
    "Those people are parasites, every one of them: a leech, a rat.",
    "I will kill you if you come back here.",
    "What a clown, he cannot do anything right.",
    "You filthy slob, get out of my house.",
    "She is too dumb to hold a job.",
    "They are savages, and they always will be: thugs.",
    "Look at that freak, who would want to be near him?",
    "You are trash and you will always be trash.",
    "Crybaby, go home and let the grown men work.",
    "Go back to where you came from, nobody wants you here.",
    "People like you should never have been born.",
    "Women cannot think, they should stay in the kitchen.",
    "I hope you fall down the stairs and never get up.",
    "You will regret this when I find out where you live.",
    "His kind is only good for cleaning floors.",
    "Nobody would miss you if you were gone.",
    "They all smell, keep them away from our children.",
    "You make me sick just by standing there.",
    "Men are all the same, not one of them can be trusted.",
    "If she speaks again I will make her sorry.",
    "He should be beaten until he learns to behave.",
    "They are not really human, you know.",
    "You have the brains of a brick.",
    "Old people only cost money, let them starve.",
    "She got the job because of her legs.",
    "We ought to throw them all into the sea.",
    "Your face would frighten a dog.",
    "I would rather eat dirt than sit beside one of those.",
    "He deserves everything bad that happens to him.",
)
"""Half of them with a word of the list, half without."""

HARMLESS = (
    "The children went to the park and played with a ball.",
    "She said that the soup was warm and good.",
    "He works as a nurse in a small town.",
    "Thank you for your help with the garden.",
    "We would like to visit our aunt on Sunday.",
    "The train was late, so they walked home.",
    "My sister is a better cook than I am.",
    "He lost the game but shook hands with everyone.",
    "I disagree with you, and here is why.",
    "The doctor told her that she would be well again.",
    "They moved here from another country last year.",
    "Nobody was at home when the letter came.",
    "The old man fed the birds every morning.",
    "She was angry at first and then she laughed.",
    "His answer was wrong, but he tried hard.",
    "The dog was dirty after the rain, so we washed it.",
    "Women and men work together in this shop.",
    "I am sorry that I forgot your birthday.",
    "The farmer keeps ten pigs and a cow.",
    "A snake was sleeping in the sun.",
    "The king in the play is a fool who loves his daughters.",
    "The baker gave each of them a warm roll.",
    "It was a sad story with a good end.",
    "He asked whether the shop was open.",
    "They were tired and went to bed early.",
    "The lawyer wrote that she would be there at noon.",
    "Please close the window, it is cold.",
    "The little boat went down the river.",
    "I do not know the answer to that question.",
    "She teaches reading to children from many countries.",
    "The young men carried the piano up the stairs.",
    "His grandmother was born by the sea.",
    "We had bread, cheese and apples for lunch.",
    "The team was beaten fairly and went home.",
    "He was sick yesterday and is better today.",
    "You look tired, would you like some tea?",
    "The guard let them in without a word.",
    "My neighbours are kind and quiet people.",
    "A storm broke two trees behind the house.",
    "She hopes that her son will write soon.",
)
"""Three of them with a word of the list, which insults nobody there."""
