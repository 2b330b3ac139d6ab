"""The chapter on labels that look wrong."""

from torch import Tensor

from src.insight.figures import RIGHT, WRONG
from src.survey import mosaic
from src.survey.patches import out_of_fold, patch_features
from src.survey.section import Look, Section, Shown, Table, per_cent
from src.survey.suspects import confident_joint, margins, read_predictions, sharpened

SHOWN = 36


def labels(look: Look) -> Section:
    """Training images whose label looks wrong, ranked."""
    train, names, title = look.collection.train, look.names, "Labels that look wrong"
    per_class = train.labels.bincount(minlength=len(names))
    kept = (per_class[train.labels] >= 2).nonzero().flatten()
    truth = train.labels[kept]
    if len(set(truth.tolist())) < 2:
        return Section(
            title, ["Fewer than two classes have two images or more: labels cannot be judged by one another."]
        )
    if look.predictions:
        logits = read_predictions(look.predictions, train.rows[kept], truth, len(names))
        how = f"the networks of {look.predictions}, each on the fold it did not learn from"
    else:
        features = patch_features(train.images[kept], look.seed)
        look.tick()
        logits = out_of_fold(features, truth, len(names), look.folds, look.seed, look.tick)
        logits = sharpened(logits, truth)
        how = f"a ridge regression on {features.shape[1] - 1:,} random patch features, in {look.folds} folds (seed "
        how += f"{look.seed})"
    probs, scores = logits.softmax(1), margins(logits, truth)
    answers, order = logits.argmax(1), scores.argsort(stable=True)[: look.suspects]
    right = float((answers == truth).float().mean())
    joint = confident_joint(probs, truth)
    doubted = int(joint.sum() - joint.diag().sum())
    pairs = joint.fill_diagonal_(0).flatten().topk(min(8, joint.numel()))
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
        f"{int((answers != truth).sum()):,} answers differ from the label, {doubted:,} of them surely by confident "
        "learning's count. This is no number of wrong labels: where labels are good, most are the judge's own "
        "mistakes. Look at the pictures before you change a label.",
    ]
    left_out = len(train) - len(kept)
    if left_out:
        text.append(f"{left_out:,} images that are alone in their class are not judged.")
    top = order[:SHOWN]
    above = [f"labelled {mosaic.short(names[truth[i]], 9)}" for i in top]
    below = [
        f"looks like {mosaic.short(names[_other(logits[i], truth[i])], 9)}\n#{train.rows[kept[i]]}  p "
        f"{_short(probs[i, truth[i]])}"
        for i in top
    ]
    figure = mosaic.captioned(mosaic.to_rgb(train.images[kept[top]]), above, below, colours=(WRONG, RIGHT))
    caption = f"The {len(top)} most suspicious of {len(kept):,} labels, in order: the label above, below the "
    caption += "likeliest other class, the image's row and the probability of its label. report.json lists "
    caption += f"{len(order)}."
    shown = Shown("labels", figure, "Images whose label looks wrong.", caption)
    table = Table(["labelled", "surely looks like", "images"], confused, "The most frequent doubts (confident joint).")
    numbers = {
        "judge": how,
        "agree": right,
        "differ": int((answers != truth).sum()),
        "surely": doubted,
        "ranked": ranked,
    }
    brief = {"labels that look wrong": f"{doubted:,} doubted, {per_cent(doubted, len(kept))}; ranked below"}
    return Section(title, text, [shown], [table] if confused else [], numbers, brief)


def _other(logits: Tensor, label: Tensor) -> int:
    """The likeliest class but `label`."""
    return int(logits.index_fill(0, label.view(1), float("-inf")).argmax())


def _short(prob: Tensor) -> str:
    """A probability in few characters."""
    return f"{float(prob):.2f}" if prob >= 0.01 else f"{float(prob):.0e}".replace("e-0", "e-")
