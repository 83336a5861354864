#!/usr/bin/python3
"""Names the language of a text by its commonest short words, with MER's Python SDK.

The words that people use most say the least and betray the language best: articles, pronouns,
prepositions. The language whose share of the text is the largest is the answer.
"""
import re

import mer

WORDS = {
    "Dutch": "de het een en van ik te dat die in is niet zijn op aan met als voor er maar om hem dan "
             "of wat mijn men dit zo door over ze bij ook tot je mij uit der daar haar naar heb hoe",
    "English": "the of and to in is you that it he was for on are as with his they at be this have "
               "from or had by but some what there we can out other were all your when use how said",
    "French": "le la les de des du un une et est que qui dans en pour pas sur au ce il elle ne se son "
              "sa avec plus par je nous vous mais ou leur sont aux cette ont tout ses comme fait",
    "German": "der die das und ist in den von zu mit sich des auf nicht ein eine als auch es an er hat "
              "aus bei nach wie dem sie einen war ich noch im oder aber vor nur wird sind zur so wenn",
    "Italian": "il lo la gli le di che e un una per non sono con si da in come io ma del della nel ha "
               "anche ci questo se al dei alla mi ti cosa molto era suo sua nella degli delle",
    "Portuguese": "o a os as de do da que e em um uma para com não por mais se no na dos das ao como "
                  "mas foi ele ela sua seu ou quando muito já eu também só pelo pela até isso entre",
    "Spanish": "el la los las de del que y en un una es por con no para su al lo como más pero sus le "
               "ya o este sí porque esta entre cuando muy sin sobre también me hasta hay donde yo",
}
KNOWN = {language: frozenset(words.split()) for language, words in WORDS.items()}


@mer.model(name="language")
def predict(text: str) -> str:
    words = re.findall(r"[^\W\d_]+", text.lower())
    counts = {language: sum(word in known for word in words) for language, known in KNOWN.items()}
    best, next_best = sorted(counts, key=counts.__getitem__, reverse=True)[:2]
    if counts[best] == counts[next_best]:
        raise mer.InputError(f"{len(words)} words tell no language apart; give a sentence or two")
    return best + "\n"


mer.serve()
