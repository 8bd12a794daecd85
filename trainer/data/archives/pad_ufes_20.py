"""PAD-UFES-20: clinical pictures taken with smartphones, six diagnoses, with patients and lesions.

Columns: patient_id, lesion_id, smoke, drink, background_father, background_mother, age, pesticide, gender,
skin_cancer_history, cancer_history, has_piped_water, has_sewage_system, fitspatrick, region, diameter_1, diameter_2,
diagnostic, itch, grew, hurt, changed, bleed, elevation, img_id, biopsed. `img_id` ends in .png. The authors call BCC, MEL
and SCC cancers (Bowen's disease counts as SCC), but not ACK, NEV and SEK. Source: Pacheco et al., Data in Brief 32, 106221
(2020), https://doi.org/10.1016/j.dib.2020.106221, https://doi.org/10.17632/zr7vgbcyr2
"""

from __future__ import annotations

from skinaudit.trainer.data.archives._archive import Archive, named

CLASSES = ("mel", "nev", "bcc", "ack", "sek", "scc")

ARCHIVE = Archive(
    title="PAD-UFES-20",
    image="img_id",
    needs=("img_id", "diagnostic", "lesion_id"),
    label=named("diagnostic", {name: name for name in CLASSES}),
    classes=CLASSES,
    malignant=("mel", "bcc", "scc"),
    lesion="lesion_id",
    patient="patient_id",
    each_has_lesion=True,
    subgroups={"age": ("age",), "sex": ("gender",), "site": ("region",), "skin_type": ("fitspatrick", "fitzpatrick")},
)
