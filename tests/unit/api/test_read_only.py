import pytest
from django.db import DatabaseError, connection, transaction

from map_project.api.errors import as_api_error
from tests.factories import TenantFactory


def test_a_read_only_database_is_unavailable() -> None:
    with pytest.raises(DatabaseError) as caught, transaction.atomic():  # noqa: PT012
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
        TenantFactory.create()
    assert as_api_error(caught.value).details == {"reason": "database_unavailable"}
