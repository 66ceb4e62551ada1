/* JSON for programs: text that may hold any bytes, and one object on stdout. */
#ifndef LQ_CLI_JSON_H
#define LQ_CLI_JSON_H

#include <jansson.h>

#include "llava_quantize/base.h"

/* A JSON string; bytes that are not UTF-8 become U+FFFD. NULL when memory is short. */
json_t *cli_json_text(const char *text);
/* null for what is not finite. */
json_t *cli_json_number(double x);
/* Adds the members of `more`, and drops it; false when either is missing. */
bool cli_json_extend(json_t *object, json_t *more);
/* `json` where it is complete; else drops it and is NULL. */
json_t *cli_json_finished(json_t *json, bool complete);
/* Prints `object` on stdout and drops the reference. NULL (a failed construction) is LQ_ERR_MEMORY. What stdout does
 * not take is reported at exit (cli_finish). */
enum lq_status cli_json_put(json_t *object, struct lq_error *err);

#endif
