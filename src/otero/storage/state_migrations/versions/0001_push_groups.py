"""Groups of the Pushgateway."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "push_groups",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("labels", sa.Text, nullable=False, unique=True),
    )
    op.create_table(
        "push_families",
        sa.Column(
            "group_id", sa.Integer, sa.ForeignKey("push_groups.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("pushed_ns", sa.BigInteger, nullable=False),
        sa.Column("message", sa.LargeBinary, nullable=False),
    )
