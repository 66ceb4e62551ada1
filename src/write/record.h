/* The commit record: what stands between two renames and makes them one.
 *
 * Enters: synced files under hidden names in one folder. Leaves: all of them under their final names, now or by the
 * next run. It is a short text named ".NAME.lq-commit" after the last file:
 *
 *     llava-quantize commit 1 new
 *     1234567 a1b2c3 mmproj-x.gguf
 *     1234568 0f9e8d x.gguf
 *     check 0123456789abcdef
 *
 * Each line gives the inode, the six digits of the hidden name, and the final name; "new" or "replace" says whether
 * final names may be taken; the check is XXH3-64 of all that stands before it. A record appears complete and synced or
 * not at all, and is locked by its writer, so that one which can be locked was left behind by a killed run.
 */
#ifndef LQ_WRITE_RECORD_H
#define LQ_WRITE_RECORD_H

#include <limits.h>

#include "llava_quantize/base.h"

struct lq_record_entry {
    uint64_t inode;
    char hidden[NAME_MAX + 1];
    char final[NAME_MAX + 1];
};

struct lq_record {
    bool replace;
    size_t n; /* at least 1 */
    struct lq_record_entry *entries;
};

/* Makes room for `n` entries; false when memory is short. */
bool lq_record_init(struct lq_record *record, bool replace, size_t n);
void lq_record_release(struct lq_record *record);

/* The text, *size bytes, to be freed; NULL when memory is short. */
char *lq_record_format(const struct lq_record *record, size_t *size);
/* Reads a text of `size` bytes with a 0 behind it. False when it is not exactly what lq_record_format would write, or
 * names anything but files of its own folder; *out is untouched then. */
bool lq_record_parse(struct lq_record *out, const char *text, size_t size);
/* ".NAME.lq-commit" */
void lq_record_name(const struct lq_record *record, char name[NAME_MAX + 1]);

/* Renames what is not yet renamed. False with errno: EEXIST (a final name is taken and may not be replaced), ENOENT (a
 * file is neither under its hidden nor under its final name), or what the system says. These two are found before any
 * rename, unless somebody else is at work in the folder. */
bool lq_record_apply(const struct lq_record *record, int folder);
/* Gives renamed files their hidden names back. False when that fails, or when one has replaced another file already. */
bool lq_record_undo(const struct lq_record *record, int folder);

/* Finishes every interrupted commit recorded in an open folder; records of living runs are left alone. `folder_path`
 * stands in messages. Errors: LQ_ERR_FORMAT (a damaged record; nothing is touched), LQ_ERR_IO (what it speaks of is
 * gone or taken). */
enum lq_status lq_record_recover(int folder, const char *folder_path, struct lq_error *err);

#endif
