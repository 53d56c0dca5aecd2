import pytest
from helpers.checkout import STUDY, Checkout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy of the project with the tiny study."""
    copy = Checkout(tmp_path_factory.mktemp("checkout"))
    copy.write(STUDY)
    return copy
