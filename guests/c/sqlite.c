/*
 * Exercises a database: a table of many rows, inserted in transactions of 10,000, an index on it,
 * aggregates, a join, an update, a deletion, and SQLite's integrity check.
 *
 *     sqlite [FILE [ROWS]]     creates a database in FILE, `/tmp/rows.db` by default, or in memory
 *                              for `:memory:`; ROWS is 100,000 by default
 *
 * It prints the results of the queries, one line each. All values are computed, so every machine
 * prints the same. The exit status is 0 if every statement ran and the check returned `ok`.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_ROWS = 100000, MOST_ROWS = 10000000, ROWS_PER_TRANSACTION = 10000, GROUPS = 100 };

static sqlite3 *database;

static void fail(const char *statement)
{
    fprintf(stderr, "sqlite: %s: %s\n", statement, sqlite3_errmsg(database));
    exit(EXIT_FAILURE);
}

static void execute(const char *statement)
{
    if (sqlite3_exec(database, statement, NULL, NULL, NULL) != SQLITE_OK)
        fail(statement);
}

static sqlite3_stmt *prepare(const char *statement)
{
    sqlite3_stmt *prepared;
    if (sqlite3_prepare_v2(database, statement, -1, &prepared, NULL) != SQLITE_OK)
        fail(statement);
    return prepared;
}

/* Runs a statement whose parameters are bound, and resets it. */
static void step_and_reset(sqlite3_stmt *prepared)
{
    if (sqlite3_step(prepared) != SQLITE_DONE || sqlite3_reset(prepared) != SQLITE_OK)
        fail(sqlite3_sql(prepared));
}

static void fill_groups(void)
{
    sqlite3_stmt *insert = prepare("INSERT INTO groups (id, name) VALUES (?1, 'group ' || ?1)");
    for (int id = 0; id < GROUPS; id++) {
        sqlite3_bind_int(insert, 1, id);
        step_and_reset(insert);
    }
    sqlite3_finalize(insert);
}

static void fill_rows(int rows)
{
    sqlite3_stmt *insert =
        prepare("INSERT INTO rows (id, grp, value, text) VALUES (?1, ?2, ?3, 'row ' || ?1 || ' of many')");
    for (int id = 0; id < rows; id++) {
        if (id % ROWS_PER_TRANSACTION == 0)
            execute(id == 0 ? "BEGIN" : "COMMIT; BEGIN");
        sqlite3_bind_int(insert, 1, id);
        sqlite3_bind_int(insert, 2, (int)(id * 7919LL % GROUPS));
        sqlite3_bind_int64(insert, 3, id * 2654435761LL % 1000003);
        step_and_reset(insert);
    }
    execute("COMMIT");
    sqlite3_finalize(insert);
}

/* Prints the rows of the result, with spaces between the columns. */
static void answer(const char *label, const char *query)
{
    sqlite3_stmt *prepared = prepare(query);
    int status;
    while ((status = sqlite3_step(prepared)) == SQLITE_ROW) {
        printf("%s:", label);
        for (int column = 0; column < sqlite3_column_count(prepared); column++)
            printf(" %s", (const char *)sqlite3_column_text(prepared, column));
        printf("\n");
    }
    if (status != SQLITE_DONE)
        fail(query);
    sqlite3_finalize(prepared);
}

static void check_integrity(void)
{
    sqlite3_stmt *prepared = prepare("PRAGMA integrity_check");
    if (sqlite3_step(prepared) != SQLITE_ROW)
        fail("PRAGMA integrity_check");
    const char *verdict = (const char *)sqlite3_column_text(prepared, 0);
    printf("integrity: %s\n", verdict);
    if (strcmp(verdict, "ok") != 0)
        exit(EXIT_FAILURE);
    sqlite3_finalize(prepared);
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "/tmp/rows.db";
    const long rows = argc > 2 ? strtol(argv[2], NULL, 10) : DEFAULT_ROWS;
    if (rows < 1 || rows > MOST_ROWS) {
        fprintf(stderr, "sqlite: the number of rows is from 1 to %d\n", MOST_ROWS);
        return EXIT_FAILURE;
    }
    /* WASI has no file locks, and no other program opens the file. */
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    if (sqlite3_open_v2(path, &database, flags, "unix-none") != SQLITE_OK)
        fail(path);
    printf("SQLite %s\n", sqlite3_libversion());

    execute("CREATE TABLE groups (id INTEGER PRIMARY KEY, name TEXT NOT NULL)");
    execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, grp INTEGER NOT NULL, value INTEGER NOT NULL, text TEXT)");
    fill_groups();
    fill_rows((int)rows);
    /* Creating the index now takes half the time of updating it with each row. */
    execute("CREATE INDEX by_group ON rows (grp, value)");

    answer("rows", "SELECT count(*), sum(value), min(value), max(value), sum(length(text)) FROM rows");
    answer("group", "SELECT grp, count(*), sum(value) FROM rows GROUP BY grp ORDER BY sum(value) DESC LIMIT 3");
    answer("join", "SELECT g.name, r.id, r.text FROM rows r JOIN groups g ON g.id = r.grp "
                   "WHERE r.value > 999900 ORDER BY r.value DESC, r.id LIMIT 3");
    execute("UPDATE rows SET value = value + 1 WHERE grp < 10");
    execute("DELETE FROM rows WHERE grp >= 90");
    answer("after", "SELECT count(*), sum(value) FROM rows");
    check_integrity();
    if (sqlite3_close(database) != SQLITE_OK)
        fail("close");
    return EXIT_SUCCESS;
}
