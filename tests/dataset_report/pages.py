"""What a report writes, and checks of its page."""

from html.parser import HTMLParser

from src.data.augment import Shift
from src.data.datamodule import ImageData
from src.dataset_report.context import ReportContext
from src.dataset_report.report import select_sections, write_dataset_report
from src.dataset_report.sample import sample_dataset

FIGURES = {
    "counts", "examples", "averages", "pixels", "measures", "components", "pca", "tsne", "test_train", "train_train",
    "distances", "outliers", "labels", "normalisation", "augmentations",
}  # fmt: skip


class PageParser(HTMLParser):
    """Collects the ids, links, images and external resources of a page."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.images, self.external = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes["href"]] if tag == "a" else []
        self.images += [attributes] if tag == "img" else []
        addresses = [attributes[key] for key in ("src", "href") if key in attributes]
        self.external += [address for address in addresses if not address.startswith(("data:", "#"))]
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check_page(path, names) -> PageParser:
    """The parsed page: well-formed, self-contained, with an anchor for each section."""
    page = PageParser()
    text = path.read_text()
    page.feed(text)
    assert page.open == []
    assert page.external == []
    assert "http://" not in text and "https://" not in text and "<script" not in text
    assert page.links == [f"#{name}" for name in names]
    assert set(names) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert all(image["alt"] for image in page.images)
    assert "prefers-color-scheme: dark" in text
    return page


def report_of(data: ImageData, folder, names=None, max_images=60_000, **options) -> dict:
    """The numbers of a report on `data`, written into `folder`."""
    context = ReportContext(
        sample_dataset(data, max_images, 0), normalize=data.normalize, augmentations={"shift": Shift(2)}, **options
    )
    return write_dataset_report(context, select_sections(names), folder, "test", lambda name: None)[0]
