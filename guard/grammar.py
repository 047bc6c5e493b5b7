"""The parts of Postgres's grammar that statements may be made of; all that is not named here is refused.

Each line is a class of node and its fields. `field` is a plain value or is looked at
by `guard.names`, `field*` holds nodes of any class named here, alone or in a list, and
`field:Class` holds one of that class.

Source:
    PostgreSQL 18, src/include/nodes/parsenodes.h and primnodes.h, as written by libpg_query's JSON.
"""

_CLASSES = """
SelectStmt distinctClause* targetList* fromClause* whereClause* groupClause* groupDistinct havingClause*
    windowClause* valuesLists* sortClause* limitOffset* limitCount* limitOption lockingClause*
    withClause:WithClause op all larg:SelectStmt rarg:SelectStmt
InsertStmt relation:RangeVar cols* selectStmt* onConflictClause:OnConflictClause
    returningClause:ReturningClause withClause:WithClause override
UpdateStmt relation:RangeVar targetList* whereClause* fromClause* returningClause:ReturningClause
    withClause:WithClause
DeleteStmt relation:RangeVar usingClause* whereClause* returningClause:ReturningClause withClause:WithClause
MergeStmt relation:RangeVar sourceRelation* joinCondition* mergeWhenClauses* returningClause:ReturningClause
    withClause:WithClause

WithClause ctes* recursive location
CommonTableExpr ctename aliascolnames* ctematerialized ctequery* search_clause:CTESearchClause
    cycle_clause:CTECycleClause location
CTESearchClause search_col_list* search_breadth_first search_seq_column location
CTECycleClause cycle_col_list* cycle_mark_column cycle_mark_value* cycle_mark_default* cycle_path_column
    location
OnConflictClause action infer:InferClause targetList* whereClause* location
InferClause indexElems* whereClause* conname location
IndexElem name expr* collation ordering nulls_ordering
ReturningClause options* exprs*
ReturningOption option value location
MergeWhenClause matchKind commandType override condition* targetList* values*
LockingClause lockedRels* strength waitPolicy
WindowDef name refname partitionClause* orderClause* frameOptions startOffset* endOffset* location
SortBy node* sortby_dir sortby_nulls useOp location
GroupingSet kind content* location
ResTarget name indirection* val* location
MultiAssignRef source* colno ncolumns

RangeVar schemaname relname inh relpersistence alias:Alias location
RangeSubselect lateral subquery* alias:Alias
RangeFunction lateral ordinality is_rowsfrom functions* alias:Alias coldeflist*
JoinExpr jointype isNatural larg* rarg* usingClause* join_using_alias:Alias quals* alias:Alias
Alias aliasname colnames*
ColumnDef colname typeName:TypeName is_local collClause:CollateClause location

A_Const ival fval boolval sval bsval isnull location
ParamRef number location
ColumnRef fields location
A_Star
A_Indirection arg* indirection*
A_Indices is_slice lidx* uidx*
A_Expr kind name lexpr* rexpr* rexpr_list_start rexpr_list_end location
BoolExpr boolop args* location
NullTest arg* nulltesttype location
BooleanTest arg* booltesttype location
CaseExpr arg* args* defresult* location
CaseWhen expr* result* location
CoalesceExpr args* location
MinMaxExpr op args* location
SubLink subLinkType testexpr* operName subselect* location
FuncCall funcname args* agg_order* agg_filter* over:WindowDef agg_within_group agg_star agg_distinct
    func_variadic funcformat location
NamedArgExpr arg* name argnumber location
GroupingFunc args* location
A_ArrayExpr elements* list_start list_end location
RowExpr args* row_format location
SQLValueFunction op typmod location
SetToDefault location
MergeSupportFunc msftype location
TypeCast arg* typeName:TypeName location
TypeName names typmods* typemod arrayBounds* location
CollateClause arg* collname location
List items*
String sval
Integer ival

JsonFuncExpr op context_item:JsonValueExpr pathspec* passing* output:JsonOutput on_empty:JsonBehavior
    on_error:JsonBehavior wrapper quotes location
JsonOutput typeName:TypeName returning:JsonReturning
JsonReturning format:JsonFormat typmod
JsonFormat format_type encoding location
JsonValueExpr raw_expr* format:JsonFormat
JsonArgument val:JsonValueExpr name
JsonBehavior btype expr* location
JsonObjectConstructor exprs* output:JsonOutput absent_on_null unique location
JsonKeyValue key* value:JsonValueExpr
JsonArrayConstructor exprs* output:JsonOutput absent_on_null location
JsonArrayQueryConstructor query* output:JsonOutput format:JsonFormat absent_on_null location
JsonObjectAgg constructor:JsonAggConstructor arg:JsonKeyValue absent_on_null unique
JsonArrayAgg constructor:JsonAggConstructor arg:JsonValueExpr absent_on_null
JsonAggConstructor output:JsonOutput agg_filter* agg_order* over:WindowDef location
JsonIsPredicate expr* format:JsonFormat item_type unique_keys location
JsonParseExpr expr:JsonValueExpr output:JsonOutput unique_keys location
JsonScalarExpr expr* output:JsonOutput location
JsonSerializeExpr expr:JsonValueExpr output:JsonOutput location
JsonTable context_item:JsonValueExpr pathspec:JsonTablePathSpec passing* columns* on_error:JsonBehavior
    alias:Alias lateral location
JsonTableColumn coltype name typeName:TypeName pathspec:JsonTablePathSpec format:JsonFormat wrapper quotes
    columns* on_empty:JsonBehavior on_error:JsonBehavior location
JsonTablePathSpec string* name name_location location
"""

PLAIN, NODES = "", "*"


def _read(classes: str) -> dict[str, dict[str, str]]:
    grammar = {}
    for line in classes.replace("\n    ", " ").split("\n"):
        name, *fields = line.split() or [""]
        if name:
            grammar[name] = dict(_field(field) for field in fields)
    return grammar


def _field(text: str) -> tuple[str, str]:
    if text.endswith(NODES):
        return text[:-1], NODES
    name, _, held = text.partition(":")
    return name, held or PLAIN


GRAMMAR = _read(_CLASSES)
"""Of each class its fields: PLAIN, NODES, or the class of what the field holds."""

STATEMENTS = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})

WORDS = {
    "intoClause": "SELECT INTO",
    "opclass": "an operator class",
    "catalogname": "the name of a database",
    "setof": "SETOF",
    "CurrentOfExpr": "WHERE CURRENT OF",
    "RangeTableSample": "TABLESAMPLE",
    "RangeTableFunc": "XMLTABLE",
    "XmlExpr": "XML",
    "XmlSerialize": "XML",
}
"""What callers call the parts that are left out on purpose."""
