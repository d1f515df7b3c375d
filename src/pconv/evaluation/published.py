"""Rows of the paper's table 1 (Liu et al., ECCV 2018), for reference beside one's own.

Places2, 512 x 512, the authors' masks: other photos and other holes, so the numbers do not compare with those of a
run. They were written down from memory of the paper (SPEC section 6) and have not been checked against its PDF: do not
publish them.
"""

from __future__ import annotations

SOURCE = (
    "Published rows: Liu et al. 2018, table 1, on Places2 (another data set, other masks: they do not compare), "
    "quoted from memory and not checked against the paper"
)

PUBLISHED: dict[str, dict[str, list[str]]] = {
    "l1": {
        "PatchMatch": [".45/.42", "1.25/1.16", "2.28/2.07", "3.52/3.17", "4.77/4.27", "6.98/6.34"],
        "plain conv": [".52/.50", "1.26/1.17", "2.20/2.01", "3.37/3.03", "4.58/4.10", "6.66/6.01"],
        "PConv": [".49/.47", "1.18/1.09", "2.07/1.88", "3.19/2.84", "4.37/3.85", "6.45/5.72"],
    },
    "psnr": {
        "PatchMatch": ["32.97/33.68", "26.87/27.51", "23.70/24.35", "21.27/22.05", "19.70/20.58", "17.60/18.22"],
        "plain conv": ["33.21/33.79", "27.30/27.89", "24.23/24.90", "21.79/22.60", "20.20/21.13", "18.24/18.94"],
        "PConv": ["33.75/34.34", "27.71/28.32", "24.54/25.25", "22.01/22.89", "20.34/21.38", "18.21/19.04"],
    },
    "ssim": {
        "PatchMatch": [".946/.947", ".861/.865", ".763/.768", ".666/.675", ".568/.579", ".459/.472"],
        "PConv": [".946/.945", ".867/.870", ".775/.779", ".681/.689", ".583/.595", ".468/.484"],
    },
}
"""By metric and method: for each bin of hole ratios "no border / border"."""
