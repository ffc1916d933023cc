"""Names of guides and controls in the labels of cells, and the genes that they name."""

import re
from collections.abc import Collection, Sequence

from infosem_jax.data._species import without_version

# Compared in lower case and without blanks and signs, and without what numbers a guide.
_CONTROL = re.compile(
    r"(s[ghi]|grna|crispr[ain]?)?(control|ctrl|ctl|nt|ntc|neg|safe|nontarget(ing|ed)?|notarget(ing)?|(un|non|not?)perturb(ed|ation)"
    r"|untargeted|(neg(ative)?|nontargeting|safe|safetargeting|safeharbor|empty|scramble)"
    r"(control|ctrl|ctl)|safeharbor|safetargeting|scrambled?|scr|luc|intergenic|wildtype|vehicle|dmso|mock"
    r"|aavs1|rosa26|lacz|luciferase|e?gfp|nongenesite|(one)?nongenesite|nosite|onesite"
    r"|noguidecontrol|cuttingcontrol|untreated|emptyvector)"
    r"(human|mouse)?(control|ctrl|guide|grna|sgrna|gene|sg|g)?s?\d*"
)
_NO_NUMBER = ("wt", "none-targeting", "luc", "rluc")
_MISSING = re.compile(
    "|nan|none|na|null|0|lowquality|unknown|unmapped|undetermined|ambiguous|negative|doublets?|multi(plets?|ple)?"
    "|(multi(ple)?|no|nosingle)(s?g|gene|guide|(sg)?rna|grna)s?|(un|not?)(assign(ed|able|ment)"
    r"|called|call|detected)|(\d+|morethan(1|one)|several|two)(genes|guides|(s?g)?rnas)"
)
# What follows a gene in the name of a guide: its number, plasmid, promoter, sequence or method.
_SUFFIX = re.compile(
    r"(?i:\d{1,3}|[a-z]|(sg|g|guide|grna|sgrna|rep|pos)[-_]?\d*|\(\w+\)|p[a-z]{1,3}\d+\w*"
    r"|p\d(p\d)?|enst?\w*\d{6,}\S*|ko|kd|oe|crispr[ain]?|[+-]|[\d.]+-p\dp?\d?|[acgt]{15,})"
)
_NUMBERED = re.compile(r"(.+?)(?:[-_.#]\d{1,2}|[-_.#]?(?:sg|g|guide|gRNA|sgRNA)[-_.]?\d{1,2})")
_PREFIX = re.compile(r"(?:sgRNA[-_]|gRNA[-_]|guide[-_]|s[ghi])(?=[A-Z])")
_METHOD = re.compile(r"(.+)-(?:KO|KD|OE|CRISPR[ain]?|ko|kd|oe)")
_NUMBER = r"(?:_[+-])?[-_.](?:sg|g)?[\d.]+(?:-P\dP?\d?)?"
_TWICE = re.compile(rf"(.+)__\1|((.+?){_NUMBER})\|\3{_NUMBER}")
# How, and the strand that a guide lies on, as Replogle's library has it.
_BEFORE, _STRAND = re.compile(r"^CRISPR[ain]?[-_](?=[A-Z])"), re.compile(r"_[+-]_")


def is_control(name: str) -> bool:
    """Tell whether a label is a usual name of controls, also numbered (``NT1``, ``neg_ctrl_3``)."""
    return all(
        _is_one_control(guide) or all(map(_is_one_control, re.split("_+", guide)))
        for guide in re.split(r"[+|;,&]|__", name)
    )


def is_missing(name: str) -> bool:
    """Tell whether a label says that nothing is known of a cell, or several things at once."""
    return any(
        all(_MISSING.fullmatch(re.sub(r"[\W_]", "", part)) for part in parts)
        for parts in ([name.lower()], re.split(r"[+|;,&]|__", name.lower()))
    )


def parse_labels(
    labels: Sequence[str],
    genes: Collection[str],
    separator: str = "+",
    known: frozenset[str] = frozenset(),
) -> list[tuple[str, ...]]:
    """Return the perturbed genes of labels, guides taken for genes.

    Parameters
    ----------
    labels
        Names of perturbations.
    genes
        Names of the genes that were measured.
    separator
        What stands between the genes of a combination.
    known
        Names that may hold the separator; those of genes where empty.
    """
    genes = frozenset(genes)
    numbered = [bool(_NUMBERED.fullmatch(label)) for label in labels]
    strip = sum(numbered) >= 0.9 * len(labels) > 0 and len(labels) >= 3
    known = known or genes
    parsed = [_parse(label, genes, separator, strip, known) for label in labels]
    # Names that differ in case only are one gene, spelled as it was measured.
    named = sorted({gene for own in parsed for gene in own}, key=lambda gene: gene not in genes)
    spelled: dict[str, str] = {}
    for gene in named:
        spelled.setdefault(gene.casefold(), gene)
    return [
        tuple(sorted({gene if gene in genes else spelled[gene.casefold()] for gene in own}))
        for own in parsed
    ]


def without_tails(labels: Sequence[str], genes: frozenset[str]) -> list[str]:
    """Take off what follows half of the genes that were measured and is none: it names a guide."""
    names = genes.union(label for label in labels if re.fullmatch(r"[^\W_]+", label))
    found: dict[str, set[str]] = {}
    for label in labels:
        for place in reversed([match.start() for match in re.finditer(r"[^\w.-]|_", label)]):
            gene = _PREFIX.sub("", label[:place])
            if gene in genes:
                found.setdefault(label[place:], set()).add(gene)
                break
    least = max(2.0, len(set().union(*found.values())) / 2) if found else 0.0
    tails = [
        tail for tail, after in found.items()
        if len(after) >= least and not names.intersection(re.split(r"[\W_]+", tail))
    ]  # fmt: skip
    tails.sort(key=len, reverse=True)
    return [
        label.removesuffix(next((tail for tail in tails if label.endswith(tail)), ""))
        for label in labels
    ]


def single_names(labels: Sequence[str], genes: frozenset[str]) -> frozenset[str]:
    """Return the labels that are one name, which need not be of a gene that was measured."""
    found = {label for label in labels if re.fullmatch(r"[^\W_]+", label)}
    hyphened = {label for label in labels if re.fullmatch(r"[^\W_]+(-[^\W_]+)+", label)}
    for label in sorted(hyphened, key=len):
        parts = label.split("-")
        begins = ("-".join(parts[:n]) for n in range(1, len(parts)))
        if not any(name in genes or name in found for name in (*parts, *begins)):
            found.add(label)
    return frozenset(found)


def _is_one_control(name: str) -> bool:
    plain = re.sub(r"[\W_]", "", name.lower())
    return bool(_CONTROL.fullmatch(plain)) or plain in _NO_NUMBER


def _parse(
    text: str, genes: frozenset[str], separator: str, strip: bool, known: frozenset[str]
) -> tuple[str, ...]:
    twice = _TWICE.fullmatch(text)
    if twice and not genes.intersection(text.split("|")):
        text = twice[1] or twice[2]  # one label for each of two guides
    text = _STRAND.sub("_", _BEFORE.sub("", text))
    if text in genes:
        return (text,)
    parts = _split(text, separator, known)
    if separator != "+":
        # What numbers a guide may also stand first where a gene that was measured follows.
        first = 0 if parts[0].isdigit() or genes.intersection(parts[1:]) else 1
        parts = [*parts[:first], *(part for part in parts[first:] if part in genes
                 or not (part.isdigit() or _SUFFIX.fullmatch(part)))]  # fmt: skip
    kept = {part for part in parts if part and not is_control(part)}
    return tuple(sorted({_gene(part, genes, strip) for part in kept}))


def _split(text: str, separator: str, known: frozenset[str]) -> list[str]:
    """Split a label, but for names that hold the separator."""
    parts = [part.strip() for part in text.split(separator)]
    whole = []
    while parts:
        ends = (n for n in range(len(parts), 1, -1) if separator.join(parts[:n]) in known)
        n = next(ends, 1)
        whole.append(separator.join(parts[:n]))
        parts = parts[n:]
    return whole


def _gene(text: str, genes: frozenset[str], strip: bool) -> str:
    """Return the gene of a guide."""
    bare = without_version(_PREFIX.sub("", text))
    if text in genes or bare in genes:
        return text if text in genes else bare
    if method := _METHOD.fullmatch(bare):
        return method[1]
    numbered = _NUMBERED.fullmatch(bare)
    stem = re.split(r"[_#:( ]", bare)[0]
    for name in (numbered[1] if numbered else "", bare.split(".")[0], stem):
        if name in genes:
            return name
    if numbered and (strip or "_" in bare):
        return numbered[1]
    head, _, tail = bare.partition("_")
    return head if tail and all(map(_SUFFIX.fullmatch, tail.split("_"))) else bare
