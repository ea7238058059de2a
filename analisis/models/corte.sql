-- description: El momento hasta el que llegan los datos, y su día en Madrid. «Hoy», en los demás modelos, es este día.
-- question: ¿Hasta cuándo sabemos lo que hacen los participantes?
-- materialized: view
-- unique: hoy
-- not_null: momento, hoy
-- always: false
--
-- The newest activity that is not in the future. A pipeline that has stopped thus shows its last days as they were, and not
-- everybody as absent; how old the data are is what frescura tells. So its rows change with the activities, though it
-- names the clock.
SELECT
    momento,
    CAST(momento AT TIME ZONE 'Europe/Madrid' AS date) AS hoy
FROM (
    SELECT coalesce(max("timestamp"), now()) AS momento
    FROM actividades_participantes
    WHERE "timestamp" <= now()
) AS ultima
