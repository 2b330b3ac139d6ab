"""The chapter on labels that look wrong."""

import torch
from torch import Tensor

from src.dataset_report import image_grids
from src.dataset_report.confident_learning import confident_label, margins, read_predictions, sharpened
from src.dataset_report.context import ReportContext, ReportFigure, Section, Table, join_words, many, per_cent
from src.dataset_report.patch_classifier import out_of_fold, patch_features
from src.plotting import RIGHT, WRONG

SHOWN = 36
LEAST = 5  # images of a class that the quick judge learns; towards a smaller class its scores are noise
POOR = 0.8  # of the answers as labelled; below, the judge's own mistakes outnumber those of most labellers
TITLE = "Labels that look wrong"


def labels(look: ReportContext) -> Section:
    """Training images whose label looks wrong, ranked."""
    train, least = look.collection.train, 2 if look.predictions else LEAST
    per_class = train.labels.bincount(minlength=len(look.names))
    classes = (per_class >= least).nonzero().flatten()
    kept = (per_class[train.labels] >= least).nonzero().flatten()
    if len(classes) < 2:
        return Section(TITLE, [f"Fewer than two classes have {least} images or more: labels cannot be judged."])
    if not look.predictions and train.alike(kept):
        return Section(TITLE, ["No two images differ in shape: labels cannot be judged by them."])
    truth = train.labels[kept]
    if look.predictions:
        logits = read_predictions(look.predictions, train.rows[kept], truth, len(look.names))
        how = f"the networks of {look.predictions}, each on the fold it did not learn from"
    else:
        features, known = patch_features(train.images[kept], look.seed), torch.searchsorted(classes, truth)
        look.tick()
        scores = sharpened(out_of_fold(features, known, len(classes), look.folds, look.seed, look.tick), known)
        logits = scores.new_full((len(kept), len(look.names)), -torch.inf)
        logits[:, classes] = scores
        how = f"a ridge regression on {features.shape[1] - 1:,} random patch features, in {look.folds} folds (seed "
        how += f"{look.seed})"
    small = [name for name, count in zip(look.names, per_class.tolist(), strict=True) if count < least]
    apart = ""
    if small:
        apart = f"Classes with fewer than {least} images are left out, as labels and as what images look like: "
        apart += f"{join_words(small)} ({many(len(train) - len(kept), 'image')})."
    return _judged(look, kept, logits, how, apart)


def _judged(look: ReportContext, kept: Tensor, logits: Tensor, how: str, apart: str) -> Section:
    train, names = look.collection.train, look.names
    truth = train.labels[kept]
    probs, scores = logits.softmax(1), margins(logits, truth)
    answers, order = logits.argmax(1), scores.argsort(stable=True)[: look.suspects]
    differ = answers != truth
    right, guess = 1 - float(differ.float().mean()), float(truth.bincount().max()) / len(truth)
    column = confident_label(probs, truth)
    sure = differ & (column >= 0) & (column != truth)
    doubted = int(sure.sum())
    joint = (truth[sure] * len(names) + column[sure]).bincount(minlength=len(names) ** 2)
    pairs = joint.topk(min(8, joint.numel()))
    confused = [
        [names[int(at) // len(names)], names[int(at) % len(names)], int(number)]
        for number, at in zip(pairs.values, pairs.indices, strict=True)
        if number
    ]
    ranked = [
        {"row": int(train.rows[kept[i]]), "label": names[truth[i]], "looks_like": names[_other(logits[i], truth[i])],
         "margin": round(float(scores[i]), 4), "p_label": round(float(probs[i, truth[i]]), 5)}
        for i in order.tolist()
    ]  # fmt: skip
    text = [
        f"Judged by {how}: it answers {per_cent(right)} of these images as they are labelled. Ranked by the "
        "log-probability of the given label less that of the likeliest other (confident learning, Northcutt, Jiang "
        "& Chuang 2021).",
        f"{many(int(differ.sum()), 'answer differs', 'answers differ')} from the label, {doubted:,} of them surely "
        "by confident learning's count: the judge is as sure of another class as it usually is of that class' own "
        "images. This is no number of wrong labels: where labels are good, most are the judge's own mistakes. Look at "
        "the pictures before you change a label.",
    ]
    poor = right < POOR or right <= guess
    if poor:
        text.insert(1, f"Beware: this judge is poor. Always answering the largest class would be right for "
                       f"{per_cent(guess)}; of such a judge's doubts most are its own. More images, or "
                       "predictions=<sweep of trained networks>, make a better one.")  # fmt: skip
    if not differ.any():
        text.append("No answer differs: the images shown are only those whose label the judge is least sure of.")
    if apart:
        text.append(apart)
    top = order[:SHOWN]
    above = [f"labelled {image_grids.shorten(names[truth[i]], 9)}" for i in top]
    words = ["looks like" if differ[i] else "after it" for i in top]
    below = [
        f"{word} {image_grids.shorten(names[_other(logits[i], truth[i])], 9)}\n#{train.rows[kept[i]]}  p "
        f"{_short(probs[i, truth[i]])}"
        for word, i in zip(words, top, strict=True)
    ]
    figure = image_grids.captioned(image_grids.to_rgb(train.images[kept[top]]), above, below, colours=(WRONG, RIGHT))
    caption = f"The {len(top)} most suspicious of {many(len(kept), 'label')}, in order: the label above, below the "
    caption += "likeliest other class (after it: the label is likelier still), the image's row and the probability of "
    caption += "its label. report.json lists "
    caption += f"{len(order)}."
    shown = ReportFigure("labels", figure, "Images whose label looks wrong.", caption)
    table = Table(["labelled", "surely looks like", "images"], confused, "The most frequent doubts (confident joint).")
    numbers = {"judge": how, "agree": right, "largest_class": guess, "poor": poor, "judged": len(kept),
               "differ": int(differ.sum()), "surely": doubted, "ranked": ranked}  # fmt: skip
    brief = {TITLE.lower(): f"{doubted:,} doubted, {per_cent(doubted, len(kept))}{' by a poor judge' * poor}"}
    return Section(TITLE, text, [shown], [table] if confused else [], numbers, brief)


def _other(logits: Tensor, label: Tensor) -> int:
    """The likeliest class but `label`."""
    return int(logits.index_fill(0, label.view(1), float("-inf")).argmax())


def _short(prob: Tensor) -> str:
    """A probability in few characters."""
    return f"{float(prob):.2f}" if prob >= 0.01 else f"{float(prob):.0e}".replace("e-0", "e-")
