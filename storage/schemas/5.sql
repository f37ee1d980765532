-- What Worldline keeps. Three habits explain most of it:
--   * hot tables (rating_event, step, tree_edge, model_score) have no key, no index, no foreign key: rows are only ever
--     appended, by one writer thread, which also sees to it that nothing is appended twice;
--   * time is TIMESTAMP in UTC, never timestamptz (fetching that needs another package);
--   * human ratings and model scores never share a table.
-- Character offsets count Unicode code points, as Python does: text of a step = substr(response, char_start + 1, char_end - char_start).

create table worldline_meta(key varchar not null, value varchar not null);

create table problem(problem_id varchar not null, prompt varchar not null, task varchar, answer varchar, meta varchar, created_at timestamp);

create table trace(
    trace_id varchar not null, problem_id varchar not null, prompt varchar not null, response varchar not null,
    response_sha256 varchar not null, answer varchar not null, finish_reason varchar not null, model varchar not null,
    format varchar not null, sampling varchar not null, stats varchar not null, solved boolean, error varchar not null,
    created_at timestamp not null, created_text varchar not null,       -- the text as it came: a trace is given back unchanged
    n_steps integer not null, n_backtracks integer not null, source varchar not null, stored_at timestamp not null,
    origin varchar, origin_root varchar,                                 -- a fork: where it left which trace, and the first of the family
    earlier varchar);                                                    -- the turns before this one, and how they were given to the model

create table segmentation(segmentation_id varchar not null, trace_id varchar not null, segmenter varchar not null, n_steps integer not null);

create table step(
    segmentation_id varchar not null, step_idx integer not null, char_start integer not null, char_end integer not null,
    name varchar not null, thought varchar not null, summary varchar not null, reflection varchar not null,
    decision varchar, complete boolean not null, text_sha256 varchar not null);

create table tree_edge(
    segmentation_id varchar not null, child_idx integer not null, parent_idx integer,  -- null: the question itself
    is_backtrack boolean not null, resumes_idx integer, replaces_idx integer, confidence double,
    kind varchar);                                                       -- null: nothing says what the step does

create table rater(
    rater_id varchar primary key, display_name varchar not null,
    role varchar not null check (role in ('rater', 'adjudicator', 'researcher', 'admin')),
    created_at timestamp not null,
    password_hash varchar,                                               -- null: nobody can log in as this rater
    active boolean not null);

-- Secrets that people carry (a login's cookie, an invitation's link) are kept as their hash alone.
create table login(token_sha256 varchar not null, rater_id varchar not null, created_at timestamp not null, expires_at timestamp not null);

create table invite(
    token_sha256 varchar not null, role varchar not null, created_by varchar not null, created_at timestamp not null,
    expires_at timestamp not null, used_by varchar, used_at timestamp);

create table rubric(
    rubric_id varchar not null, version integer not null, guidelines varchar not null, created_at timestamp not null,
    questions varchar not null, created_by varchar not null);            -- questions: JSON, what is asked beside the fixed judgements

create table queue(
    queue_id varchar not null, title varchar not null, unit varchar not null,              -- unit: trace or pair
    rubric_id varchar not null, rubric_version integer not null,
    overlap integer,                                                     -- raters an item; null: as many as want to
    lease_minutes integer not null, verify_mode boolean not null,        -- verify mode shows model scores while rating
    blind boolean not null,                                              -- others' judgements and the model's name stay hidden
    sampling varchar not null, gold_share double not null, config varchar not null,        -- config: JSON
    archived boolean not null, created_at timestamp not null);

create table pair(
    pair_id varchar not null, queue_id varchar not null, problem_id varchar not null,
    left_trace_id varchar not null, right_trace_id varchar not null,     -- in canonical order: what was shown is in the assignment
    shared_steps integer not null, source varchar not null, created_at timestamp not null);

-- The safety net under the leases: even if two claims were ever computed at once, the second cannot be committed.
create table slot(
    queue_id varchar not null, item_id varchar not null, slot_no integer not null, rater_id varchar not null,
    primary key (queue_id, item_id, slot_no), unique (queue_id, item_id, rater_id));

create table assignment(
    assignment_id varchar not null, queue_id varchar not null, trace_id varchar not null, segmentation_id varchar not null,
    rater_id varchar not null, rubric_id varchar not null, rubric_version integer not null,
    status varchar not null, status_reason varchar not null,             -- status: offered (fetched ahead), leased, submitted, skipped
    status_seq bigint not null,                                          -- client seq of the event that set the status; -1: none
    leased_at timestamp not null, lease_expires_at timestamp not null, submitted_at timestamp, updated_at timestamp not null,
    pair_id varchar, swapped boolean,                                    -- a pair: which, and whether its right trace stood on the left
    late boolean not null,                                               -- submitted after its lease had ended and its place was taken: an extra rating
    gold varchar,                                                        -- null, gold or screening: never told to the rater before the end
    sampled_by varchar not null);                                        -- which rule chose it, the random slice included

create table rating_event(
    server_seq bigint not null,                                          -- order of commit over the whole store
    event_id varchar not null,                                           -- made by the client; append-only: no key, no index
    assignment_id varchar not null, rater_id varchar not null, seq bigint not null,
    ts_client timestamp, ts_server timestamp not null,
    action varchar not null, target varchar not null,                    -- storage/events.py says which there are
    segmentation_id varchar not null, step_idx integer, dimension varchar not null,
    value double, value_text varchar,                                    -- 0 is a deliberate neutral; unsure: null + 'unsure'
    input_method varchar not null, dwell_ms integer, prelabel_visible boolean not null, ui_build varchar not null);

-- Items whose right judgement is known. Appended to; the latest row of an item counts, and one that is not active ends it.
create table gold(
    queue_id varchar not null, item_id varchar not null, kind varchar not null,            -- kind: gold or screening
    answers varchar not null, feedback varchar not null, active boolean not null, created_by varchar not null, created_at timestamp not null);

-- Whether a rater may go on in a queue. Appended to; the latest row counts.
create table standing(
    rater_id varchar not null, queue_id varchar not null, state varchar not null,          -- state: paused, passed or open
    reason varchar not null, set_by varchar not null, set_at timestamp not null);

-- What an adjudicator decided where raters differ. Appended to; the latest row of a (target, step, dimension) counts.
create table adjudication(
    adjudication_id varchar not null, queue_id varchar not null, trace_id varchar not null, segmentation_id varchar not null,
    target varchar not null, step_idx integer, dimension varchar not null, value double, value_text varchar,
    adjudicator varchar not null, reason varchar not null, guideline_gap boolean not null, created_at timestamp not null,
    pair_id varchar);                                                    -- of a pair: which; its trace is the left one

-- A decision with neither value nor text takes back what was decided before.
create view adjudication_current as
select * exclude (rn) from (
    select *, row_number() over (
        partition by queue_id, trace_id, pair_id, target, step_idx, dimension order by created_at desc, adjudication_id desc) as rn
    from adjudication)
where rn = 1 and (value is not null or value_text is not null);

-- Latest wins, by the client's order, then by order of commit. An undo is an event too: a clear, or a set of what was there before.
create view rating_latest as
select * exclude (rn) from (
    select *, row_number() over (
        partition by assignment_id, target, segmentation_id, step_idx, dimension order by seq desc, server_seq desc) as rn
    from rating_event where action in ('set', 'clear'))
where rn = 1 and action = 'set';

-- What storage/settled.py keeps of finished assignments: their rows of rating_latest, and how many there are of each kind.
create table settled(
    server_seq bigint not null,
    event_id varchar not null,
    assignment_id varchar not null, rater_id varchar not null, seq bigint not null,
    ts_client timestamp, ts_server timestamp not null,
    action varchar not null, target varchar not null,
    segmentation_id varchar not null, step_idx integer, dimension varchar not null,
    value double, value_text varchar,
    input_method varchar not null, dwell_ms integer, prelabel_visible boolean not null, ui_build varchar not null);

create table tally(
    assignment_id varchar not null, trace_id varchar not null, rater_id varchar not null,
    good bigint not null, neutral bigint not null, bad bigint not null, unsure bigint not null,  -- judgements of steps
    judgements bigint not null);                                                                 -- of any kind

-- What counts now in work in hand: assignments that are not in tally.
create view rating_in_hand as
select * exclude (rn) from (
    select *, row_number() over (
        partition by assignment_id, target, segmentation_id, step_idx, dimension order by seq desc, server_seq desc) as rn
    from rating_event semi join (
        select assignment_id from assignment anti join tally using (assignment_id)) using (assignment_id)
    where action in ('set', 'clear'))
where rn = 1 and action = 'set';

-- The same rows as rating_latest, fast over the whole store. For one assignment rating_latest is the faster.
create view rating_current as select * from settled union all by name select * from rating_in_hand;

-- "unsure" is not a vote: count(value) leaves it out.
create view step_consensus as
select segmentation_id, step_idx, count(value) as n, avg(value) as mean, max(value) - min(value) as spread,
       count(distinct value) as n_values
from settled join assignment using (assignment_id, segmentation_id)
where target = 'step' and dimension = 'correctness' and status = 'submitted'
group by segmentation_id, step_idx;

create table model_score(
    trace_id varchar not null, segmentation_id varchar not null, scorer varchar not null, scorer_version varchar not null,
    step_values double[] not null, aggregation varchar not null, created_at timestamp not null);

-- What a model said of a trace's steps on a second look; what was inferred first is never changed.
create table refinement(
    refinement_id varchar not null, trace_id varchar not null, segmentation_id varchar not null, model varchar not null,
    steps varchar not null, stats varchar not null, created_at timestamp not null);

-- Searches that have ended: what was asked of whom, what was chosen, and what it cost (core/search/ledger.py). The tree is in
-- searches/ID.jsonl of the data folder. FLOPs are null where a model's size is unknown.
create table search(
    search_id varchar not null, problem_id varchar not null, prompt varchar not null,
    strategy varchar not null, params varchar not null,                  -- params: JSON
    model varchar not null, executor varchar not null, scorer varchar not null,            -- '' where there is none
    seed bigint not null, started_by varchar not null,
    reason varchar not null,                                             -- finished, budget, cancelled or error
    correct boolean,                                                     -- null: nobody knows the answer, or none was chosen
    answer varchar not null, trace_id varchar,                           -- the chosen response; null: none was chosen
    nodes integer not null, prompt_tokens bigint not null, cached_tokens bigint not null, generated_tokens bigint not null,
    scorer_tokens bigint not null, solver_flops double, scorer_flops double, seconds double not null, calls integer not null,
    created_at timestamp not null, ended_at timestamp not null);

create table snapshot(
    snapshot_id varchar not null, name varchar not null, spec varchar not null, event_seq bigint not null,
    n_rows integer not null, sha256 varchar not null, created_by varchar not null, created_at timestamp not null, path varchar not null);
