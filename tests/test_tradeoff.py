"""The curves of benchmarks/tradeoff.py."""

import numpy as np
import pytest
import tradeoff


def test_curves_are_compared_where_all_of_them_are():
    low, high = [(0.2, 0.8), (0.4, 0.6), (0.8, 0.2)], [(0.9, 0.3), (0.4, 0.8)]
    found = tradeoff.area({"low": low, "high": high})
    assert found == pytest.approx({"low": 0.4, "high": 0.6})
    assert all(
        np.isnan(one) for one in tradeoff.area({"low": low[:2], "high": [(0.5, 1), (0.6, 1)]}).values()
    )


def test_a_point_is_compared_across_and_up():
    curve = [(0.8, 0.2), (0.2, 0.8)]
    assert tradeoff.beside((0.5, 0.7), curve) == pytest.approx((0.5, 0.3))
    across, up = tradeoff.beside((0.9, 0.4), curve)
    assert np.isnan(across) and up == pytest.approx(0.6)
