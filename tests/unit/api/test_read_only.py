from django.db import DatabaseError, connection, transaction

from map_project.api.errors import as_api_error
from tests.factories import TenantFactory


def test_a_database_that_became_a_standby_is_unavailable_and_no_fault_of_ours() -> None:
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION READ ONLY")
            TenantFactory.create()
    except DatabaseError as error:
        assert as_api_error(error).details == {"reason": "database_unavailable"}
    else:
        raise AssertionError("it was written")
