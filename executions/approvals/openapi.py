"""The OpenAPI operations of approvals."""

from drf_spectacular.utils import OpenApiParameter, extend_schema_view

from executions.approvals.serializers import (
    ApprovalSerializer,
    DecisionSerializer,
    ListedApprovalSerializer,
)
from executions.errors import ApprovalDecided, ApprovalExpired, ApprovalNotFound
from executions.models import Approval
from map_project.api.errors import InvalidPagination
from map_project.tenants.errors import TenantIsolationViolation
from map_project.tenants.openapi import tenant_operation as operation

PENDING_EXAMPLE = {
    "id": "0197a3c6-2d4b-7e08-b1c7-6f0a9d3e5b21",
    "execution_id": "0197a3c2-77aa-7f3b-b6a0-51c3a9d1e004",
    "position": 1,
    "tool_id": "0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11",
    "tool_name": "delete_customer",
    "arguments": '{"customer":4711}',
    "arguments_sha256": "3b4bc07aa2c4ef2b1f4a2bbb12f1f9f2d7dd6a0b5d3f6c2d0a7cf4a1a9c9e1d7",
    "status": "pending",
    "reason": None,
    "decided_by": None,
    "decided_at": None,
    "created_at": "2026-11-22T10:00:01.443456Z",
    "expires_at": "2026-11-23T10:00:01.443456Z",
}
_DECIDED = {
    **PENDING_EXAMPLE,
    "status": "declined",
    "reason": "The contract runs until March.",
    "decided_by": "map_Zk3wQ9x2",
    "decided_at": "2026-11-22T10:12:40.118022Z",
}
_ONE = (ApprovalNotFound, TenantIsolationViolation)

documented = extend_schema_view(
    list=operation(
        "List approvals",
        description="Returns your approvals, newest first (by `created_at`, then `id`). Long `arguments` are "
        "truncated; an approval has them whole.",
        parameters=[
            OpenApiParameter(
                "status",
                {"type": "string", "enum": Approval.Status.values},
                description="Returns only approvals with this status.",
            ),
            OpenApiParameter(
                "execution_id",
                {"type": "string", "format": "uuid"},
                description="Returns only approvals of this execution.",
            ),
        ],
        responses={200: ListedApprovalSerializer(many=True)},
        errors=[InvalidPagination],
        example={**PENDING_EXAMPLE, "arguments_truncated": False},
    ),
    retrieve=operation(
        "Read an approval",
        description="Returns an approval.",
        id_of="approval",
        responses={200: ApprovalSerializer},
        errors=_ONE,
        example=PENDING_EXAMPLE,
    ),
    decide=operation(
        "Decide about a tool call",
        description="Approves or declines a tool call. When all calls of the response are decided, a worker "
        "continues the run: it makes the approved calls with the requested arguments, and the model receives "
        "a result for each declined call. The same decision can be sent again. Does not count as a "
        "run.",
        id_of="approval",
        operation_id="approvals_decide",
        request=DecisionSerializer,
        responses={200: ApprovalSerializer},
        errors=[*_ONE, ApprovalDecided, ApprovalExpired],
        body={
            "Decline": {"approve": False, "reason": _DECIDED["reason"]},
            "Approve": {"approve": True},
        },
        example=_DECIDED,
    ),
)
