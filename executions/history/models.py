"""What the search of the history reads instead of the executions."""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models

from map_project.tenants.models import Tenant


class SearchBlock(models.Model):
    """The words of consecutive executions of a tenant (`executions.history.blocks`).

    It has all executions after the last one of the block before, up to its own last one. Those after the last
    block are in none.
    """

    tenant = models.ForeignKey(
        Tenant, on_delete=models.PROTECT, db_constraint=False, db_index=False, related_name="+"
    )
    last_created_at = models.DateTimeField()
    last_id = models.UUIDField()
    # Hashes of the tenant with each word, and with each pair of the metadata.
    words = ArrayField(models.BigIntegerField())
    # Whether words may be missing: of runs that have not ended, or that were inserted later.
    is_stale = models.BooleanField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=("tenant", "last_created_at", "last_id"), name="search_block_unique"
            )
        ]
        indexes = [
            # Without `fastupdate`: a search would read the list of pending words.
            GinIndex(fields=("words",), name="search_block_words", fastupdate=False),
            models.Index(
                fields=("tenant", "last_created_at", "last_id"),
                condition=models.Q(is_stale=True),
                name="search_block_stale",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.last_created_at}"


class HistoryTotal(models.Model):
    """The number of executions of a tenant up to a time. Later ones are counted for each request.

    Triggers on executions subtract deleted rows from `count`, and reset the total if a row is inserted with
    an earlier time. A trigger on tenants creates the row.
    """

    tenant = models.OneToOneField(
        Tenant, on_delete=models.CASCADE, primary_key=True, db_constraint=False, related_name="+"
    )
    count = models.BigIntegerField()
    until = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.until}: {self.count}"
