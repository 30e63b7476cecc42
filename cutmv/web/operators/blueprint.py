"""The routes of operators, which are for administrators alone."""

from flask import Blueprint

blueprint = Blueprint("operators", __name__, url_prefix="/operators")
