#include "quantize/content.h"

#include <string.h>

#include "base/hash.h"

enum lq_status lq_content_begin(struct lq_content *content, struct lq_error *err)
{
    if (content->digest == NULL) content->digest = XXH3_createState();
    if (content->digest == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for a hash");
    XXH3_128bits_reset(content->digest);
    return LQ_OK;
}

void lq_content_release(struct lq_content *content)
{
    XXH3_freeState(content->digest);
    content->digest = NULL;
}

static void add_shape(XXH3_state_t *digest, const struct lq_plan_entry *entry)
{
    int32_t type = entry->type;
    XXH3_128bits_update(digest, entry->tensor->name, strlen(entry->tensor->name) + 1);
    XXH3_128bits_update(digest, entry->ne, sizeof entry->ne);
    XXH3_128bits_update(digest, &type, sizeof type);
}

void lq_content_add(struct lq_content *content, const struct lq_plan_entry *entries, size_t n_entries,
                    const struct lq_items *items)
{
    for (size_t i = 0; i < n_entries; i++) add_shape(content->digest, &entries[i]);
    for (size_t i = 0; i < items->n; i++)
        XXH3_128bits_update(content->digest, &items->items[i].hash, sizeof items->items[i].hash);
}

void lq_content_id(const struct lq_content *content, char id[LQ_PAIR_ID_LENGTH + 1])
{
    lq_hash_text(id, XXH3_128bits_digest(content->digest));
}
