/*
 * scope.c
 *		What a name means at a place of the definition.
 *
 * An expression sees the nodes before it in its own body, then, outward, those
 * before the node whose body that is.  So a body sees what came before its
 * owner, and never its siblings or what they hold.
 */
#include "postgres.h"

#include "definition/definition.h"

GoflowBody *
goflow_scope_outer(const GoflowBody *body)
{
	return body->owner ? body->owner->body : NULL;
}

GoflowNode *
goflow_scope_find_node(GoflowBody *body, const char *id)
{
	GoflowNode *node = NULL;

	for (; body && node == NULL; body = goflow_scope_outer(body))
		node = goflow_definition_find_node(body, id);
	return node;
}

const GoflowNode *
goflow_scope_within(const GoflowExpr *expr, const GoflowBody *body)
{
	if (expr->body == body)
		return expr->node;
	for (const GoflowBody *inner = expr->body; inner->owner; inner = inner->owner->body)
		if (inner->owner->body == body)
			return inner->owner;
	return NULL;
}

bool
goflow_scope_is_before(const GoflowExpr *expr, const GoflowNode *node)
{
	const GoflowNode *owner;

	if (node == expr->node && node->body == expr->body)
		return expr->sees_self;
	if (node->body == expr->body)
		return expr->place == GOFLOW_PLACE_END ||
			(expr->place == GOFLOW_PLACE_NODE && bms_is_member(node->position, expr->node->ancestors));
	owner = goflow_scope_within(expr, node->body);
	return owner && bms_is_member(node->position, owner->ancestors);
}

/* True if what comes before the expression, in the body of the node, is not all known. */
bool
goflow_scope_is_blurred(const GoflowExpr *expr, const GoflowNode *node)
{
	const GoflowNode *owner;

	if (node->body == expr->body)
		owner = expr->place == GOFLOW_PLACE_NODE ? expr->node : NULL;
	else
		owner = goflow_scope_within(expr, node->body);
	return owner && owner->has_unknown_ancestors;
}

GoflowNode *
goflow_scope_item(const GoflowExpr *expr, const char *name)
{
	if (expr->sees_item && expr->node->item_name && strcmp(expr->node->item_name, name) == 0)
		return expr->node;
	for (const GoflowBody *body = expr->body; body->owner; body = body->owner->body)
		if (body->owner->item_name && strcmp(body->owner->item_name, name) == 0)
			return body->owner;
	return NULL;
}

GoflowNode *
goflow_scope_loop(const GoflowBody *body)
{
	for (; body->owner; body = body->owner->body)
		if (body->owner->type == GOFLOW_TYPE_LOOP)
			return body->owner;
	return NULL;
}

GoflowNode *
goflow_scope_catch(const GoflowBody *body)
{
	for (; body->owner; body = body->owner->body)
		if (body->owner->type == GOFLOW_TYPE_TRY && body->part >= 1 &&
			body->part <= body->owner->ncatches)
			return body->owner;
	return NULL;
}

int
goflow_scope_variable(const GoflowExpr *expr, int number)
{
	const GoflowBody *body = expr->body;

	/* first values see the variables around the body only */
	if (expr->place == GOFLOW_PLACE_BEGIN)
		body = goflow_scope_outer(body);
	for (; body; body = goflow_scope_outer(body))
	{
		if (number < body->nvariables)
			return body->first_variable + number;
		number -= body->nvariables;
	}
	return -1;
}

List *
goflow_reference_relations(const GoflowExpr *expr)
{
	List	   *result = NIL;

	if (!(expr->sees & GOFLOW_SEES(GOFLOW_REF_NODE)))
		return NIL;
	for (const GoflowBody *body = expr->body; body; body = goflow_scope_outer(body))
		for (int i = 0; i < body->nnodes; i++)
		{
			GoflowNode *node = body->nodes[i];

			if (goflow_node_is_relation(node) && node->is_typed && node != expr->node &&
				goflow_scope_is_before(expr, node))
				result = lappend(result, node);
		}
	return result;
}
