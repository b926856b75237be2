"""Words and literals the demo's rows are made of.

The texts are chosen to hurt: every character that COPY escapes, the end-of-data marker, a COPY command inside
a value, quotes of all kinds, characters outside the basic plane, and empty strings beside NULLs.
"""

# Figures of made-up rows are clear from their place, and the unusual dashes are intended.
# ruff: noqa: PLR2004, RUF001

from collections.abc import Iterable
from random import Random

# No PostgreSQL text can hold this character, so it can stand for NULL without being mistaken for a value.
NULL = "\0"

_STEP = 0x9E3779B97F4A7C15F39CC0605CEDC835
_SPREAD = 0xD1B54A32D192ED03A0761D6478BD642F
_VERSION_4 = 0x4 << 76 | 0x2 << 62
_FREE_BITS = (1 << 128) - 1 & ~(0xF << 76 | 0x3 << 62)

FIRST_NAMES = (
    "José", "Zoë", "Siobhán", "Łukasz", "François", "Mary Ann", "Nguyễn", "Søren", "Ana-María", "D'Arcy",
    "Björn", "Chloé", "Jürgen", "Aisha", "Wei", "Olga", "Tomás", "Priya", "Kwame", "Γιώργος",
    "Иван", "美咲", "יעל", "Noël", "Renée", "Tariq", "Hannah", "Malik", "Íñigo", "Grace",
)  # fmt: skip
LAST_NAMES = (
    "O'Connor", "D'Angelo", "Núñez", "Müller-Lüdenscheidt", "van der Berg", "Smith", "Ångström", "Þórsdóttir",
    "Kowalczyk", "García Márquez", "Okonkwo", "Tanaka", "St. John", "Đặng", "Çelik", "Fitzgerald III",
    "Ó Súilleabháin", "Ibáñez", "Patel", "M'Bala", "Żółć", "Johnson", "Lee", "Haddad", "Петров", "山田",
    "Brown", "Krüger", "L'Écuyer", "de la Cruz", "Kim",
)  # fmt: skip
SPECIALTIES = (
    "Family Medicine", "Sports Medicine", "Obstetrics, high risk", 'Point-of-care "POCUS"', "Geriatrics",
    "Palliative {comfort} care", "Null", "Dermatology\\Skin", "Pediatrics", "",
)  # fmt: skip
ROTATIONS = (
    "Family Medicine Inpatient Team", "Clinic", "Night Float", "Labor & Delivery", "Emergency Medicine",
    "Sports Medicine", "Pediatrics Ward", "NICU", "Geriatrics", "Point-of-Care Ultrasound", "Procedures",
    "Musculoskeletal", "Psychiatry", "Surgery", "Cardiology", "Research", "Elective", "Vacation Cover",
)  # fmt: skip
PROCEDURES = (
    "Vasectomy", "Colposcopy", "IUD insertion", "Nexplanon", "Joint injection", "Skin biopsy",
    "Botulinum toxin", "Lumbar puncture", "Central line", "Intubation", "Paracentesis", "Thoracentesis",
    "Arterial line", "Cesarean section, first assist", "Vaginal delivery", "Laceration repair",
    "Toenail removal", "I & D of abscess", "Circumcision", "Treadmill test", "Fracture reduction",
    "Casting", "Nerve block", "Endometrial biopsy",
)  # fmt: skip

_PLAIN = (
    "covering for a colleague",
    "swap agreed by phone with the chief resident",
    "needs direct supervision until the credential is signed",
    "clinic moved to building 4; badge access required",
    "post-call, leaves at noon",
    "double-booked, resolved by the coordinator",
    "requested by the patient's family",
    "shadowing only, no independent orders",
    "résumé à jour, dossier complété",
    "continuity clinic protected",
)
_HARD = (
    "two lines:\nthe second one",
    "tab\tseparated\tvalues",
    "path C:\\temp\\new\\rota.xls",
    "she said \"don't\", then 'fine'",
    "\\.",
    "first\n\\.\nafter the marker",
    "COPY people FROM stdin;\n1\t\\N\t2\n\\.\n",
    "\\N is not NULL",
    "Robert'); DROP TABLE students;--",
    "windows line\r\nend\r\n",
    "family first 👩‍⚕️👨‍👩‍👧 🏥",
    "ends with a backslash \\",
    "  spaces around  ",
    "\b\f\v control characters",
    "-- not a comment /* nor this */ $body$ $1 %s {}",
    "\\restrict abc\n\\connect postgres\n",
    "NULL",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 e\u0301 é \u202eright to left\u202c",
)


def identifier(table: int, number: int) -> str:
    """A row's UUID, computed from its number so that its children need not look it up.

    The step is odd and the lowest 62 bits are all kept, so different numbers give different UUIDs.
    """
    return f"{(number * _STEP + (table + 1) * _SPREAD) & _FREE_BITS | _VERSION_4:032x}"


def note(random: Random) -> str:
    """A free text: mostly NULL, sometimes empty, sometimes plain, sometimes hard to copy."""
    draw = random.random()
    if draw < 0.7:
        return NULL
    if draw < 0.76:
        return ""
    if draw < 0.95:
        return f"{_PLAIN[int(draw * 1e6) % len(_PLAIN)]} (ext. {int(draw * 1e9) % 9973})"
    return _HARD[int(draw * 1e6) % len(_HARD)]


def hard_text(number: int) -> str:
    """One of the difficult texts; consecutive numbers go through all of them."""
    return _HARD[number % len(_HARD)]


def array(items: Iterable[str | None]) -> str:
    """An array literal; all elements are quoted, so that empty ones and the word NULL survive."""
    return "{" + ",".join("NULL" if item is None else _quoted(item) for item in items) + "}"


def _quoted(item: str) -> str:
    escaped = item.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
