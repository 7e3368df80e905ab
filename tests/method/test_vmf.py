"""The von Mises-Fisher distribution against Bessel functions of many digits, and against quadrature."""

import mpmath
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ive

from grip_assets.method.partition import vmf

KAPPAS = [1e-3, 0.5, 40.0, 360.0, 900.0, 9999.0]


@pytest.mark.parametrize("d", [1, 2, 3, 16, 63, 64, 384, 768, 4096])
def test_the_normaliser_agrees_with_forty_digits(d):
    nu = mpmath.mpf(d) / 2 - 1
    with mpmath.workdps(40):
        exact = [
            nu * mpmath.log(k) - mpmath.mpf(d) / 2 * mpmath.log(2 * mpmath.pi) - mpmath.log(mpmath.besseli(nu, k))
            for k in map(mpmath.mpf, KAPPAS)
        ]
    assert vmf.log_norm(np.array(KAPPAS), d) == pytest.approx([float(e) for e in exact], rel=1e-12, abs=1e-8)


@pytest.mark.parametrize("d", [2, 3, 16, 32, 384, 768, 4096])
def test_the_mean_length_and_its_inverse_agree_with_forty_digits(d):
    nu, kappas = mpmath.mpf(d) / 2 - 1, KAPPAS[1:-1]
    with mpmath.workdps(40):
        exact = np.array([float(mpmath.besseli(nu + 1, k) / mpmath.besseli(nu, k)) for k in kappas])
    assert vmf.mean_length(np.array(kappas), d) == pytest.approx(exact, rel=1e-13)
    assert vmf.concentration(exact, d) == pytest.approx(kappas, rel=1e-9)


def test_the_expansion_meets_scipy_where_both_hold():
    for d in (64, 96, 128):
        for kappa in (20.0, 100.0):
            exact = np.log(ive(d / 2 - 1, kappa)) + kappa
            assert vmf.log_bessel(d / 2 - 1, np.array([kappa]))[0] == pytest.approx(exact, abs=3e-8)


@pytest.mark.parametrize("kappa", [0.1, 3.0, 50.0])
def test_the_density_integrates_to_1(kappa):
    """E2: on the sphere of three dimensions by its closed form; in others over the angle to mu."""
    log_c = vmf.log_norm(np.array([kappa]), 3)[0]
    assert log_c == pytest.approx(np.log(kappa / (4 * np.pi * np.sinh(kappa))), abs=1e-12)
    for d in (2, 3, 5, 16, 40):
        log_c = vmf.log_norm(np.array([kappa]), d)[0]
        log_area = np.log(2) + (d - 1) / 2 * np.log(np.pi) - float(mpmath.loggamma((d - 1) / 2))  # of the sphere around

        def at(angle, d=d, log_c=log_c, log_area=log_area):
            return np.exp(log_c + log_area + kappa * np.cos(angle) + (d - 2) * np.log(max(np.sin(angle), 1e-300)))

        assert quad(at, 0, np.pi, epsabs=1e-12)[0] == pytest.approx(1, abs=1e-8), d


def test_newton_starts_near_as_in_the_papers_numbers():
    assert vmf.banerjee(vmf.mean_length(np.array([40.0]), 16), 16)[0] == pytest.approx(40.33, abs=0.01)
    assert vmf.banerjee(vmf.mean_length(np.array([900.0]), 768), 768)[0] == pytest.approx(900.2, abs=0.01)


def test_the_concentration_maximises_and_stays_in_its_range():
    lengths = np.array([0.0, 1e-9, 0.3, 0.9, 0.999999, 1.0])
    for d in (2, 16, 384):
        kappa = vmf.concentration(lengths, d)
        assert (kappa >= vmf.KAPPA_MIN).all() and (kappa <= vmf.kappa_max(d)).all()
        assert kappa[0] == vmf.KAPPA_MIN and kappa[-1] == vmf.kappa_max(d) and (np.diff(kappa) >= 0).all()
        for near in (0.999, 1.001):
            beside = np.clip(kappa * near, vmf.KAPPA_MIN, vmf.kappa_max(d))
            q, q_beside = (lengths * k + vmf.log_norm(k, d) for k in (kappa, beside))
            assert (q >= q_beside - 1e-9).all()
